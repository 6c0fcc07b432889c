"""Simulate a day with overload peaks and dying workers.

``python -m bench.day [--jobs 20000] [--slots 100] [--users 1000] [--models 25] [--groups 5] [--life-h 12]
[--plot day.svg]``, or ``--full`` for 1,000 slots, 10,000 users, 100 models in 20 groups and 1,000,000 jobs. The
scripts, Redis and the methods of the store are real; the time that the scripts see, the workers and the users are
simulated. Heartbeats are two minutes apart and leases last eight, because the 500 heartbeats of a second would take
most of the computing time. Progress is printed to stderr. Ctrl-C ends the submissions; the report is printed when all
jobs have ended.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.common import machine
from bench.day.population import Size
from bench.day.run import simulate
from bench.day.worker import LIFE_S

FULL = Size(slots=1000, users=10_000, models=100, groups=20, jobs=1_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--models", type=int, default=25)
    parser.add_argument("--groups", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life-h", type=float, default=LIFE_S / 3600, help="mean life of a worker, hours")
    parser.add_argument("--plot", type=Path, help="write an SVG picture to this file")
    options = parser.parse_args()
    print(machine(), flush=True)
    size = Size(options.slots, options.users, options.models, options.groups, options.jobs or 20_000)
    if options.full:
        size = Size(FULL.slots, FULL.users, FULL.models, FULL.groups, options.jobs or FULL.jobs)
    print(simulate(size, options.seed, options.plot, 3600 * options.life_h))


if __name__ == "__main__":
    main()
