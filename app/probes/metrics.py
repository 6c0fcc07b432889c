"""``GET /metrics``: the fleet and the queue in Prometheus' text format, read from Redis on each request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.access import auth
from app.extensions import settings, store
from app.openapi.answers import TEXT
from app.openapi.blueprint import Blueprint
from jobs.files import disks
from jobs.store import queries
from jobs.store.queries import Fleet

blueprint = Blueprint("metrics", __name__, tag="Health and metrics")
auth.protect(blueprint)

#: Fact about a device, which names its metric → help text.
DEVICE_FACTS = {
    "memory_total_bytes": "Memory of the device (a CPU: RAM)",
    "memory_used_bytes": "Used memory of the device, by all processes",
    "utilization_percent": "Share of time in which the GPU computed",
    "temperature_c": "Temperature of the GPU, degrees Celsius",
    "load_1min": "Load average of the host",
}


@blueprint.route("/metrics")
@blueprint.response(200, TEXT, content_type="text/plain", description="Prometheus' text format.")
def metrics() -> Response:
    """Show jobs, slots, devices, models in memory, and counters; needs an admin's key."""
    auth.admin()
    registry = CollectorRegistry()
    registry.register(_Fleet(queries.fleet(store()), disks.free_bytes(settings())))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Fleet(Collector):
    """The metrics of the fleet, and of the disks of this host, at one moment."""

    def __init__(self, fleet: Fleet, free_bytes: Mapping[str, int]) -> None:
        self._fleet, self._free_bytes = fleet, free_bytes

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        fleet = self._fleet
        yield _gauge("jobs", "Jobs on record", ["state"], {(state,): n for state, n in fleet.counts.items()})
        waiting = {(model,): n for model, n in fleet.waiting_models.items()}
        yield _gauge("waiting_jobs", "Waiting jobs", ["model"], waiting)
        yield _counter("submitted_jobs", "Jobs accepted since the data was begun", [], {(): fleet.submitted})
        ended = {(state,): n for state, n in fleet.ended.items()}
        yield _counter("ended_jobs", "Jobs that ended since the data was begun", ["state"], ended)
        states = {(slot.name, fleet.state_of(slot)): 1 for slot in fleet.slots}
        yield _gauge("slot", "Slots by state", ["slot", "state"], states)
        yield _counter("slot_model_loads", "Models read from disk since the slot's process started", ["slot"],
                       {(slot.name,): slot.loads for slot in fleet.slots})  # fmt: skip
        yield _counter("slot_out_of_memory", "Runs that found too little memory since the slot's process started",
                       ["slot"], {(slot.name,): slot.ooms for slot in fleet.slots})  # fmt: skip
        held = {(slot.name, one.model, str(one.place)): one.bytes for slot in fleet.slots for one in slot.loaded_models}
        yield _gauge("model_bytes", "Models in memory: device, parked or offloaded", ["slot", "model", "place"], held)
        free = {(name,): count for name, count in self._free_bytes.items()}
        yield _gauge("disk_free_bytes", "Free space of the web server's disks, by what they hold", ["holds"], free)
        for fact, text in DEVICE_FACTS.items():
            values = {(slot.name,): slot.device_facts[fact] for slot in fleet.slots if fact in slot.device_facts}
            yield _gauge(f"device_{fact}", text, ["slot"], values)


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    return _filled(GaugeMetricFamily(f"framemill_{name}", text, labels=labels), values)


def _counter(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    return _filled(CounterMetricFamily(f"framemill_{name}", text, labels=labels), values)


def _filled(
    family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[Any, float]
) -> Metric:  # fmt: skip
    for labels, value in values.items():
        family.add_metric(list(labels), value)
    return family
