"""Measure the Redis time of every call on fleets that are large on one axis, and on all at once.

``python -m bench.fleet [--short] [--axes depth all] [--rounds 100]``. Redis runs one script at a time, so its time per
call bounds the rate of all calls, and the longest script is what every other call may have to wait for.
"""

from __future__ import annotations

import argparse

from bench.common import machine
from bench.fleet.comparison import FLEETS, SMALL, report, short_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a small fleet and one of 100 slots")
    parser.add_argument("--axes", nargs="+", choices=[name for name in FLEETS if name != SMALL], help="default: all")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    print(machine(), flush=True)
    names = [SMALL, *(options.axes or list(FLEETS)[1:])]
    print(short_report() if options.short else report({name: FLEETS[name] for name in names}, options.rounds))


if __name__ == "__main__":
    main()
