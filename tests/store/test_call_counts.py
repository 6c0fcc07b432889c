"""No call of the store runs more Redis commands on a large fleet than on a small one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.fleet.calls import Calls
from bench.fleet.fleet import NEVER_S, Fleet, Shape
from tests.support.store_driver import StoreDriver

SMALL = Shape(slots=8, keys=120, models=4, groups=1, depth=240)
LARGER = {
    "slots": replace(SMALL, slots=120),
    "keys": replace(SMALL, keys=600, depth=600),
    "groups of slots with their models": replace(SMALL, slots=80, models=80, groups=20),
    "waiting jobs": replace(SMALL, depth=1200),
}
ROUNDS = 4
#: Jobs that expire at once, and records that are deleted at once.
EXPIRING = 200
#: Calls that are made in slices, by the beginning of their names, and the largest mean number of commands of a slice.
SLICED, MAX_SLICE = ("resume the queue", "sweep", f"{EXPIRING} "), 1500

#: A list of jobs of other models does not share what it reads; each job costs no more than asked for alone.
LIST, OF_A_LIST, ONE = "list of 50 with forecasts", 50, "status with position and ETA"

#: Largest number of commands by call; of a slice, for calls that are made in slices.
Counts = dict[str, float]


@pytest.fixture(scope="module")
def cached() -> dict[Shape, Counts]:
    return {}


@pytest.fixture
def counts_of(driver: Callable[..., StoreDriver], cached: dict[Shape, Counts]) -> Callable[[Shape], Counts]:
    """``counts_of(shape)``: return the counts of every call on a fleet."""

    def measured(shape: Shape) -> Counts:
        if shape not in cached:
            store = driver(slot_lease_s=NEVER_S, resend_after_s=NEVER_S, event_log_length=100).store
            calls = Calls(Fleet(store, shape))
            calls.round()  # loads the scripts
            calls.costs.clear()
            for _ in range(ROUNDS):
                calls.round()
            calls.resume_all()
            calls.expire(EXPIRING)
            cached[shape] = {
                name: max(cost.commands / (cost.scripts if name.startswith(SLICED) else 1) for cost in costs)
                for name, costs in calls.costs.items()
            }
        return cached[shape]

    return measured


@pytest.mark.parametrize("axis", LARGER)
def test_no_call_runs_more_commands_on_a_larger_fleet(axis: str, counts_of: Callable[[Shape], Counts]) -> None:
    small, large = counts_of(SMALL), counts_of(LARGER[axis])

    def limit(name: str) -> float:
        if name.startswith(SLICED):
            return MAX_SLICE
        # A call takes one of several ways, and a search in an index may take a step more.
        return 1.25 * (OF_A_LIST * small[ONE] if name == LIST else small[name]) + 10

    grown = [f"{name}: {small[name]:.0f} → {count:.0f}" for name, count in large.items() if count > limit(name)]
    assert not grown, "\n".join(grown)
