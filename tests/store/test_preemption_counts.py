"""With preemption, no call runs more Redis commands on a large fleet than on a small one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.fleet.fleet import NEVER_S, OWNER, REQUEST, Fleet, Shape
from jobs.callers import Caller
from jobs.record import new_job_id
from jobs.store.runs import StepReply
from jobs.submission import Accepted, Submission
from tests.support.redis_meter import RedisMeter
from tests.support.store_driver import StoreDriver

SMALL = Shape(slots=32, keys=120, models=4, groups=1, depth=240)
LARGER = {
    "slots": replace(SMALL, slots=160),
    "keys": replace(SMALL, keys=600, depth=600),
    "groups of slots with their models": replace(SMALL, slots=240, models=60, groups=15),
    "waiting jobs": replace(SMALL, depth=1200),
}
#: Largest mean number of commands of a slice of a sweep.
MAX_SLICE = 1500

#: Number of commands by call; of a slice, for sweeps.
Counts = dict[str, float]


class Preempting:
    """A fleet whose general runs can all be preempted, and the calls that have to do with it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.store = fleet, fleet.store
        self._meter = RedisMeter(fleet.store)
        for slot in fleet.busy:
            self.report(slot, 1)

    def report(self, slot: str, step: int) -> StepReply:
        job_id, attempt = self.fleet.at(slot)
        return self.store.progress(job_id, attempt, "denoising", step, 100, 1000.0, resumable=True)

    def urgent(self, model: str) -> Accepted:
        submission = Submission(
            request=replace(REQUEST, model=model), caller=Caller(key_id="service-0", job_class="premium")
        )
        return self.store.submit(new_job_id(), submission)

    def counts(self) -> Counts:
        """Return the number of commands of each call."""
        fleet, store, measure = self.fleet, self.store, self._meter.measure
        found: Counts = {}
        accepted: list[Accepted] = []
        found["submit, takes the slot of a run"] = measure(lambda: accepted.append(self.urgent("model-0"))).commands
        [victim] = accepted[0].preempted
        record = store.read(victim)
        slot, attempt = record["slot"], int(record["attempt"])
        found["progress, interrupted"] = measure(lambda: self.report(slot, 2)).commands
        found["hand over, the urgent job gets the slot"] = measure(
            lambda: store.hand_over(victim, attempt, slot=slot)
        ).commands
        assert fleet.at(slot)[0] != victim
        other = self.urgent("model-0")
        [victim] = other.preempted
        found["cancel, the run goes on"] = measure(lambda: store.cancel(other.job_id)).commands
        slot = store.read(victim)["slot"]
        found["progress, the last fifth begins"] = measure(lambda: self.report(slot, 90)).commands
        found["progress, nothing changes"] = measure(lambda: self.report(slot, 91)).commands
        found["heartbeat, slot runs"] = measure(lambda: store.heartbeat(slot, OWNER, {})).commands
        sweep = measure(fleet.sweep)
        found["sweep"] = sweep.commands / sweep.scripts
        return found


@pytest.fixture(scope="module")
def cached() -> dict[Shape, Counts]:
    return {}


@pytest.fixture
def counts_of(driver: Callable[..., StoreDriver], cached: dict[Shape, Counts]) -> Callable[[Shape], Counts]:
    def measured(shape: Shape) -> Counts:
        if shape not in cached:
            store = driver(
                slot_lease_s=NEVER_S,
                resend_after_s=NEVER_S,
                event_log_length=100,
                preempt_after_s=1.0,
                general_premium_ratio="100 1",
            ).store
            cached[shape] = Preempting(Fleet(store, shape)).counts()
        return cached[shape]

    return measured


@pytest.mark.parametrize("axis", LARGER)
def test_no_call_runs_more_commands_on_a_larger_fleet(axis: str, counts_of: Callable[[Shape], Counts]) -> None:
    small, large = counts_of(SMALL), counts_of(LARGER[axis])
    limits = {name: MAX_SLICE if name == "sweep" else 1.25 * count + 10 for name, count in small.items()}
    grown = [f"{name}: {small[name]:.0f} → {count:.0f}" for name, count in large.items() if count > limits[name]]
    assert not grown, "\n".join(grown)
