"""With preemption, no call runs more Redis commands on a large fleet than on a small one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bench.fleet.fleet import Fleet, Shape
from bench.fleet.preempting import OPTIONS, Preempting
from tests.support.redis_meter import Cost
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


@pytest.fixture(scope="module")
def cached() -> dict[Shape, dict[str, Cost]]:
    return {}


@pytest.fixture
def costs_of(
    driver: Callable[..., StoreDriver], cached: dict[Shape, dict[str, Cost]]
) -> Callable[[Shape], dict[str, Cost]]:
    def measured(shape: Shape) -> dict[str, Cost]:
        if shape not in cached:
            cached[shape] = Preempting(Fleet(driver(**OPTIONS).store, shape)).costs()
        return cached[shape]

    return measured


@pytest.mark.parametrize("axis", LARGER)
def test_no_call_runs_more_commands_on_a_larger_fleet(axis: str, costs_of: Callable[[Shape], dict[str, Cost]]) -> None:
    small, large = costs_of(SMALL), costs_of(LARGER[axis])
    for name, cost in large.items():
        if name.startswith("sweep"):
            assert cost.commands / cost.scripts <= MAX_SLICE
        else:
            assert cost.commands <= 1.25 * small[name].commands + 10, name
