"""Compare the calls on a small fleet with the same calls on larger ones."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from bench.common import table
from bench.fleet.calls import EXPIRING, Calls, Costs
from bench.fleet.fleet import Shape, built
from tests.support.redis_meter import Cost

#: Targets: the time of a call compared with the same call on the small fleet, and the longest script, milliseconds.
MAX_RATIO, MAX_SCRIPT_MS = 2.0, 10.0

SMALL = "small"
FLEETS = {
    SMALL: Shape(),
    "slots": Shape(slots=1000),
    "keys": Shape(keys=10_000, depth=10_000),
    "models": Shape(slots=40, models=100, groups=20),
    "depth": Shape(depth=200_000),
    "all": Shape(slots=1000, keys=10_000, models=100, groups=20, depth=200_000),
}
SHORT = {SMALL: Shape(), "all": Shape(slots=100, keys=500, models=20, groups=10, depth=5000)}


def measure(shape: Shape, rounds: int, expiring: int) -> Costs:
    """Return the costs of all calls on a fleet of this shape."""
    with built(shape) as fleet:
        calls = Calls(fleet)
        calls.round()  # loads the scripts
        calls.costs.clear()
        for _ in range(rounds):
            calls.round()
        calls.resume_all()
        calls.expire(expiring)
        return calls.costs


def report(fleets: Mapping[str, Shape], rounds: int = 100, expiring: int = EXPIRING) -> str:
    measured: dict[str, Costs] = {}
    for name, shape in fleets.items():
        begun = time.monotonic()
        measured[name] = measure(shape, rounds, expiring)
        print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    sizes = [
        [name, shape.slots, f"{shape.keys:,}", f"{shape.models} in {shape.groups}", f"{shape.depth:,}"]
        for name, shape in fleets.items()
    ]
    others = [name for name in fleets if name != SMALL]
    head = [
        "Redis ms per call (median)",
        SMALL,
        *others,
        f"largest ratio (target ≤ {MAX_RATIO:g})",
        "commands, small",
        *others,
    ]
    head.append(f"longest script, ms (target ≤ {MAX_SCRIPT_MS:g})")
    return "\n\n".join(
        [
            table(("fleet", "slots", "keys", "models in groups", "waiting jobs"), sizes),
            table(head, list(_rows(measured, others))),
        ]
    )


def short_report() -> str:
    """Compare the small fleet with a larger one, in a minute."""
    return report(SHORT, rounds=20, expiring=500)


def _rows(measured: Mapping[str, Costs], others: list[str]) -> Iterable[list[Any]]:
    for call, costs in measured[SMALL].items():
        each = {name: [_of_a_slice(cost) for cost in measured[name][call]] for name in measured}
        ms = [statistics.median(cost.ms for cost in each[name]) for name in (SMALL, *others)]
        commands = [statistics.median(cost.commands for cost in each[name]) for name in (SMALL, *others)]
        longest = {name: max(cost.longest_ms for cost in each[name]) for name in measured}
        worst = max(longest, key=longest.__getitem__)
        name = f"{call} (each slice)" if costs[0].scripts > 1 else call
        yield [
            name, *ms, f"**{max(ms) / ms[0]:.1f}**", *(f"{count:.0f}" for count in commands),
            f"**{longest[worst]:.1f}** ({worst})",
        ]  # fmt: skip


def _of_a_slice(cost: Cost) -> Cost:
    """Return the cost of each script of a call that is made in slices."""
    scripts = max(1, cost.scripts)
    return Cost(cost.ms / scripts, cost.longest_ms, round(cost.commands / scripts), scripts)
