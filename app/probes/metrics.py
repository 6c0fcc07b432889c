"""``GET /metrics``: the fleet and the queue in Prometheus' text format, at most a second old."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from flask import Response

from app import fleet
from app.access import auth
from app.extensions import settings
from app.openapi.answers import TEXT
from app.openapi.blueprint import Blueprint
from jobs.files import disks
from jobs.store.queries import Fleet

blueprint = Blueprint("metrics", __name__, tag="Health and metrics")
auth.protect_metrics(blueprint)

#: Media type of Prometheus' text format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Fact about a device, which names its metric → help text.
DEVICE_FACTS = {
    "memory_total_bytes": "Memory of the device (a CPU: RAM)",
    "memory_used_bytes": "Used memory of the device, by all processes",
    "utilization_percent": "Share of time in which the GPU computed",
    "temperature_c": "Temperature of the GPU, degrees Celsius",
    "load_1min": "Load average of the host",
}


#: What the values of labels must not contain as they are.
_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@blueprint.route("/metrics")
@blueprint.response(200, TEXT, content_type="text/plain", description="Prometheus' text format.")
def metrics() -> Response:
    """Show jobs, slots, devices, models in memory, and counters; needs a key for metrics or an admin's."""
    return Response(text_of(fleet.recent(), disks.free_bytes(settings())), content_type=CONTENT_TYPE)


def text_of(fleet: Fleet, free_bytes: Mapping[str, int]) -> str:
    """Return the metrics of the fleet, and of the disks of this host. A family is written in one pass: slots are many.

    Args:
        fleet: the state of the service.
        free_bytes: what a disk holds → its free space.
    """
    return "".join(_families(fleet, free_bytes))


def _families(fleet: Fleet, free_bytes: Mapping[str, int]) -> Iterator[str]:
    yield from _gauge("jobs", "Jobs on record", ["state"], {(state,): n for state, n in fleet.counts.items()})
    waiting = {(model,): n for model, n in fleet.waiting_models.items()}
    yield from _gauge("waiting_jobs", "Waiting jobs", ["model"], waiting)
    yield from _counter("submitted_jobs", "Jobs accepted since the data was begun", [], {(): fleet.submitted})
    ended = {(state,): n for state, n in fleet.ended.items()}
    yield from _counter("ended_jobs", "Jobs that ended since the data was begun", ["state"], ended)
    states = {(slot.name, fleet.state_of(slot)): 1 for slot in fleet.slots}
    yield from _gauge("slot", "Slots by state", ["slot", "state"], states)
    yield from _counter("slot_model_loads", "Models read from disk since the slot's process started", ["slot"],
                        {(slot.name,): slot.loads for slot in fleet.slots})  # fmt: skip
    yield from _counter("slot_out_of_memory", "Runs that found too little memory since the slot's process started",
                        ["slot"], {(slot.name,): slot.ooms for slot in fleet.slots})  # fmt: skip
    held = {(one.model, str(one.place), slot.name): one.bytes for slot in fleet.slots for one in slot.loaded_models}
    yield from _gauge("model_bytes", "Models in memory: device, parked or offloaded", ["model", "place", "slot"], held)
    free = {(name,): count for name, count in free_bytes.items()}
    yield from _gauge("disk_free_bytes", "Free space of the web server's disks, by what they hold", ["holds"], free)
    for fact, text in DEVICE_FACTS.items():
        values = {(slot.name,): slot.device_facts[fact] for slot in fleet.slots if fact in slot.device_facts}
        yield from _gauge(f"device_{fact}", text, ["slot"], values)


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Iterator[str]:
    return _family("gauge", f"framemill_{name}", text, labels, values)


def _counter(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Iterator[str]:
    return _family("counter", f"framemill_{name}_total", text, labels, values)


def _family(kind: str, name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    names = ",".join(f'{label}="%s"' for label in labels)
    line = f"{name}{{{names}}} " if labels else f"{name} "
    for shown, value in values.items():
        yield f"{line % tuple(map(_escaped, shown))}{value}\n"


@lru_cache(maxsize=8192)
def _escaped(text: str) -> str:
    return text.translate(_ESCAPED)
