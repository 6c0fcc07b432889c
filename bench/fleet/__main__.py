"""Measure the Redis time of every call on fleets that are large on one axis, and on all at once.

``python -m bench.fleet [--short] [--axes depth all] [--rounds 100]``. Redis runs one script at a time, so its time per
call bounds the rate of all calls, and the longest script is what every other call may have to wait for.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from bench.common import machine, table
from bench.fleet.calls import EXPIRING, Calls, Costs
from bench.fleet.fleet import Shape, built

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
SHORT = {SMALL: Shape(), "all": Shape(slots=200, keys=1000, models=40, groups=10, depth=10_000)}


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


def _rows(measured: Mapping[str, Costs], others: list[str]) -> Iterable[list[Any]]:
    for call, costs in measured[SMALL].items():
        small_ms = statistics.median(cost.ms for cost in costs)
        ms = [statistics.median(cost.ms for cost in measured[name][call]) for name in others]
        commands = [statistics.median(cost.commands for cost in measured[name][call]) for name in (SMALL, *others)]
        longest = {name: max(cost.longest_ms for cost in measured[name][call]) for name in measured}
        worst = max(longest, key=longest.__getitem__)
        ratio = max(ms, default=small_ms) / small_ms
        yield [
            call, small_ms, *ms, f"**{ratio:.1f}**", *(f"{count:.0f}" for count in commands),
            f"**{longest[worst]:.1f}** ({worst})",
        ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a small fleet and one of 200 slots")
    parser.add_argument("--axes", nargs="+", choices=[name for name in FLEETS if name != SMALL], help="default: all")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    print(machine())
    if options.short:
        print(report(SHORT, min(options.rounds, 30), expiring=1000))
    else:
        names = [SMALL, *(options.axes or list(FLEETS)[1:])]
        print(report({name: FLEETS[name] for name in names}, options.rounds))


if __name__ == "__main__":
    main()
