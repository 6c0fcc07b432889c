"""``make bench``: run the main benchmarks in a short form, in a few minutes. ``make chaos`` is separate."""

from __future__ import annotations

import sys
import time

from bench import delivery, latency, overhead, queue
from bench.common import machine
from bench.day.population import Size
from bench.day.run import simulate
from bench.fleet.comparison import short_report

#: A small service with a short day.
SMALL = Size(slots=40, users=300, models=8, groups=4, jobs=3000)


def _checkpoints() -> str:
    from bench import checkpoints  # torch would weigh on the measurements before it

    return checkpoints.report(short=True)


def main() -> int:
    begun = time.monotonic()
    print(machine(), flush=True)
    for title, measure in (
        ("Overhead (python -m bench.overhead)", lambda: overhead.report(overhead.measure(rounds=3, seconds=3))),
        ("Long queues (python -m bench.queue)", lambda: queue.report((10, 10_000), samples=100)),
        ("Large fleets (python -m bench.fleet)", short_report),
        ("A simulated day (python -m bench.day)", lambda: simulate(SMALL)),
        ("Latency (python -m bench.latency)", lambda: latency.report(short=True)),
        ("Checkpoints (python -m bench.checkpoints)", _checkpoints),
        ("Delivery (python -m bench.delivery)", lambda: delivery.report(rounds=1)),
    ):
        print(f"\n## {title}\n\n{measure()}", flush=True)
    print(f"\ntook {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
