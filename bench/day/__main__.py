"""Simulate a day with overload peaks and dying workers.

``python -m bench.day [--jobs 20000] [--slots 100] [--users 1000] [--models 25] [--groups 5] [--plot day.svg]``, or
``--full`` for 1,000 slots, 10,000 users, 100 models in 20 groups and 1,000,000 jobs. The scripts, Redis and the methods
of the store are real; the time that the scripts see, the workers and the users are simulated. Heartbeats are a minute
apart and leases last four, because the 500 heartbeats of a second would take most of the computing time.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from bench.common import machine, short_folder
from bench.day import report
from bench.day.clocked_store import ClockedStore
from bench.day.population import WEIGHTS, Population, Size
from bench.day.simulation import Simulation
from jobs.settings import Settings
from jobs.store import keys
from stack.embedded_redis.server import EmbeddedRedis

FULL = Size(slots=1000, users=10_000, models=100, groups=20, jobs=1_000_000)
HEARTBEAT_S, LEASE_S = 60.0, 240.0


def simulate(size: Size, seed: int, plot: Path | None) -> str:
    """Return the report of a day."""
    with short_folder() as folder:
        settings = Settings.of(
            data_dir=folder, max_waiting=10_000_000, event_log_length=50_000, heartbeat_s=HEARTBEAT_S,
            slot_lease_s=LEASE_S, resend_after_s=LEASE_S, result_ttl_s=max(600, int(size.day_s / 12)),
        )  # fmt: skip
        with EmbeddedRedis(settings) as redis:
            store = ClockedStore(settings.replace(redis_timeout_s=600), WEIGHTS)
            store.client.config_set("appendonly", "no")
            store.client.config_set("slowlog-log-slower-than", 10_000)
            begun, cpu = time.monotonic(), time.process_time()
            day = Simulation(store, Population(size, seed), HEARTBEAT_S)
            measures = day.run()
            scripts = store.client.info("commandstats")["cmdstat_evalsha"]["calls"]
            used = store.client.info("cpu")
            redis_s = used["used_cpu_user"] + used["used_cpu_sys"]
            counters = store.call(lambda client: client.hgetall(keys.COUNTERS))
            text = report.tables(measures, counters, size)
            slow = store.client.slowlog_len()
            assert redis.pid
            store.client.close()
    if plot:
        plot.write_text(report.plot(measures, size), encoding="utf-8")
    return (
        f"{text}\n\n{scripts:,} scripts. Redis used {redis_s:.0f} s of processor time, "
        f"{1000 * redis_s / scripts:.2f} ms for each, the simulation {time.process_time() - cpu:.0f} s; "
        f"{time.monotonic() - begun:.0f} s in all. {slow:,} scripts took more than 10 ms, including the time in which "
        "other processes ran instead of Redis"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--slots", type=int, default=100)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--models", type=int, default=25)
    parser.add_argument("--groups", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path, help="write an SVG picture to this file")
    options = parser.parse_args()
    print(machine(), flush=True)
    size = Size(options.slots, options.users, options.models, options.groups, options.jobs or 20_000)
    if options.full:
        size = Size(FULL.slots, FULL.users, FULL.models, FULL.groups, options.jobs or FULL.jobs)
    print(simulate(size, options.seed, options.plot))


if __name__ == "__main__":
    main()
