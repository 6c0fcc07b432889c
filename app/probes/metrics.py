"""``GET /metrics``: the fleet, the queue and what was measured in Prometheus' text format, at most a second old.

Measurements reach Redis within :data:`jobs.store.measuring.measures.INTERVAL_S`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from flask import Response

from app import fleet
from app.access import auth
from app.extensions import current, settings
from app.openapi.answers import TEXT
from app.openapi.blueprint import Blueprint
from app.probes.backlog import backlog_seconds, slots_by_model
from app.probes.exposition import CONTENT_TYPE, counter, gauge, histogram, measured_counter
from jobs.files import disks
from jobs.store.measuring.families import ATTEMPTS, HISTOGRAMS, OUTCOMES, SHARED
from jobs.store.monitoring import figures
from jobs.store.monitoring.figures import Figures, Series
from jobs.store.queries import Fleet

blueprint = Blueprint("metrics", __name__, tag="Health and metrics")
auth.protect_metrics(blueprint)

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
    """Show jobs, slots, devices, models in memory, durations and counters; needs a key for metrics or an admin's."""
    app = current()
    measured = app.reads.recent("figures", partial(figures.read, app.store))
    text = text_of(fleet.recent(), measured, app.models.names(), disks.free_bytes(settings()))
    return Response(text, content_type=CONTENT_TYPE)


def text_of(fleet: Fleet, measured: Figures, models: Sequence[str], free_bytes: Mapping[str, int]) -> str:
    """Return the metrics of the service, and of the disks of this host.

    Args:
        fleet: the state of the service.
        measured: what its processes have measured.
        models: what this server offers.
        free_bytes: what a disk holds → its free space.
    """
    return "".join([*_queue(fleet, measured, models), *_slots(fleet, free_bytes), *_measured(measured)])


def _queue(fleet: Fleet, measured: Figures, models: Sequence[str]) -> Iterator[str]:
    yield from gauge("jobs", "Jobs on record", ["state"], {(state,): n for state, n in fleet.counts.items()})
    slots = slots_by_model(fleet)
    backlog = {(model,): round(s, 3) for model, s in backlog_seconds(fleet, measured, models, slots).items()}
    waiting = {(model,): fleet.waiting_models.get(model, 0) for (model,) in backlog}
    yield from gauge("waiting_jobs", "Waiting jobs", ["model"], waiting)
    yield from counter("submitted_jobs", "Jobs accepted since the data was begun", [], {(): fleet.submitted})
    ended = {(state,): n for state, n in fleet.ended.items()}
    yield from counter("ended_jobs", "Jobs that ended since the data was begun", ["state"], ended)
    yield from gauge("backlog_seconds", "Expected time of waiting jobs, divided by the slots that run them", ["model"],
                     backlog)  # fmt: skip
    running = {(model,): slots[model] for (model,) in backlog}
    yield from gauge("model_slots", "Slots that run jobs of a model, busy or not", ["model"], running)
    oldest = {(): round(measured.oldest_wait_s, 3)}
    yield from gauge("oldest_wait_seconds", "Age of the oldest job that waits", [], oldest)
    yield from gauge("dead_letters", "Jobs on the dead-letter list", [], {(): measured.dead})
    yield from counter("given_up_jobs", "Jobs that failed because each of their workers died", [],
                       {(): measured.dead_letters})  # fmt: skip
    yield from counter("lost_leases", "Slots given up because their worker fell silent", [], {(): measured.lost_leases})


def _slots(fleet: Fleet, free_bytes: Mapping[str, int]) -> Iterator[str]:
    states = {(slot.name, fleet.state_of(slot)): 1 for slot in fleet.slots}
    yield from gauge("slot", "Slots by state", ["slot", "state"], states)
    yield from counter("slot_model_loads", "Models read from disk since the slot's process started", ["slot"],
                        {(slot.name,): slot.loads for slot in fleet.slots})  # fmt: skip
    yield from counter("slot_out_of_memory", "Runs that found too little memory since the slot's process started",
                        ["slot"], {(slot.name,): slot.ooms for slot in fleet.slots})  # fmt: skip
    held = {(one.model, str(one.place), slot.name): one.bytes for slot in fleet.slots for one in slot.loaded_models}
    yield from gauge("model_bytes", "Models in memory: device, parked or offloaded", ["model", "place", "slot"], held)
    free = {(name,): count for name, count in free_bytes.items()}
    yield from gauge("disk_free_bytes", "Free space of the web server's disks, by what they hold", ["holds"], free)
    for fact, text in DEVICE_FACTS.items():
        values = {(slot.name,): slot.device_facts[fact] for slot in fleet.slots if fact in slot.device_facts}
        yield from gauge(f"device_{fact}", text, ["slot"], values)


def _measured(measured: Figures) -> Iterator[str]:
    by_family: dict[str, list[Series]] = defaultdict(list)
    for one in measured.series:
        by_family[one.family].append(one)
    ends = {**{(outcome,): 0 for outcome in OUTCOMES}, ("lost",): measured.lost_runs}
    yield from measured_counter(ATTEMPTS, by_family[ATTEMPTS.name], ends)
    yield from measured_counter(SHARED, by_family[SHARED.name], {})
    for family in HISTOGRAMS:
        yield from histogram(family, by_family[family.name])
