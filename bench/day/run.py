"""Run a day on a Redis of its own."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from bench.common import short_folder
from bench.day import report
from bench.day.clocked_store import ClockedStore
from bench.day.population import WEIGHTS, Population, Size
from bench.day.simulation import Simulation
from bench.day.worker import LIFE_S
from jobs.settings import Settings
from jobs.store import keys
from stack.embedded_redis.server import EmbeddedRedis

HEARTBEAT_S, LEASE_S = 120.0, 480.0


def simulate(size: Size, seed: int = 1, plot: Path | None = None, life_s: float = LIFE_S) -> str:
    """Return the report of a day. Workers live for ``life_s`` seconds on average.

    A SIGINT or SIGTERM ends the submissions.
    """
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
            day = Simulation(store, Population(size, seed), HEARTBEAT_S, life_s)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: day.submit_no_more())
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
