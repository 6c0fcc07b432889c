"""Measure the pages that show the whole service: fleet, queue, metrics, probes, lists, and those of other protocols.

``python -m bench.pages [--slots 1000] [--keys 1000] [--jobs 5000] [--samples 30] [--axes]``. With ``--axes`` a web
server with few slots, keys and jobs comes first, then one axis after the other at its full number, then all of them.
For each page: duration, CPU of the web process, CPU of Redis and commands in Redis. ``fresh``: the devices of all slots
have been measured anew since the page before, and nothing that was read then is recent any more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from app.events.shared_reads import RECENT_S
from bench.common import Client, machine, noop_stack, quantile, table
from bench.listeners import web_process
from bench.queue import REQUEST
from jobs.callers import Caller, Role
from jobs.record import new_job_id
from jobs.slots.residency import LoadedModel, Place, memory_facts
from jobs.store import keys, queries
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.measuring.families import HISTOGRAMS
from jobs.submission import Submission
from tests.support.harness import Stack

#: Duration of the lease of the slots, whose workers do not exist.
LEASE_S = 100_000
#: The key with which the pages are requested; the second one is no admin's.
ADMIN, CLIENT = "page-admin", "page-client"
#: Jobs that run while the pages are requested, at most one on each slot.
RUNNING_SHARE = 0.5
PAGES = {
    "fleet": "/v1/fleet",
    "queue": "/v1/queue",
    "metrics": "/metrics",
    "metrics, fresh": "/metrics",
    "fleet, fresh": "/v1/fleet",
    "readyz": "/readyz",
    "models": "/v1/models",
    "dead letters": "/v1/admin/dead",
    "jobs, 50": "/v1/jobs",
    "jobs, 50 waiting": "/v1/jobs?state=queued",
    "jobs, 500": "/v1/jobs?limit=500",
    "keys": "/v1/admin/keys",
    "LightX2V service status": "/v1/service/status",
    "LightX2V queue status": "/v1/tasks/queue/status",
    "LightX2V metadata": "/v1/service/metadata",
    "LightX2V tasks": "/v1/tasks/",
    "A1111 memory": "/sdapi/v1/memory",
}
#: The same for a caller who is shown only his own jobs.
CLIENT_PAGES = {name: PAGES[name] for name in ("fleet", "queue", "jobs, 50", "LightX2V service status")}


@dataclass(frozen=True)
class Size:
    slots: int
    keys: int
    jobs: int

    def __str__(self) -> str:
        return f"{self.slots:,} slots, {self.keys:,} keys, {self.jobs:,} jobs"


@contextmanager
def service(size: Size) -> Iterator[tuple[Stack, dict[str, str]]]:
    """Yield a web server with this many slots, keys and jobs, half of the slots busy; and secrets by name of a key."""
    with noop_stack(SLOT_LEASE_S=LEASE_S) as stack:
        secrets = {
            ADMIN: KeyRing(stack.store).create(Caller(key_id=ADMIN, role=Role.ADMIN)),
            CLIENT: KeyRing(stack.store).create(Caller(key_id=CLIENT)),
        }
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda number: _key(stack, number), range(size.keys)))
            list(pool.map(lambda number: _slot(stack, number), range(size.slots)))
            busy = int(RUNNING_SHARE * size.slots)
            for number in range(busy):
                _submit(stack, number)
            stack.store.pause_slots()
            list(pool.map(lambda number: _submit(stack, number % size.keys), range(size.jobs - busy)))
        _measure(stack)
        time.sleep(1.5)  # the server learns that it has keys
        yield stack, secrets


def _key(stack: Stack, number: int) -> None:
    KeyRing(stack.store).create(Caller(key_id=f"key-{number}"))


def _submit(stack: Stack, number: int) -> None:
    caller = Caller(key_id=f"key-{number}" if number else CLIENT)
    stack.store.submit(new_job_id(), Submission(request=REQUEST, caller=caller))


def _device(number: int) -> str:
    """Return what was measured of a device; it differs from number to number."""
    return json.dumps({
        "name": "NVIDIA H200", "memory_total_bytes": 150_000_000_000, "memory_used_bytes": 30_000_000_000 + number,
        "memory_free_bytes": 120_000_000_000 - number, "utilization_percent": number % 100,
        "temperature_c": 50 + number % 30,
    })  # fmt: skip


def _measure_devices(stack: Stack, number: int) -> None:
    with stack.store.client.pipeline(transaction=False) as pipe:
        for place, slot in enumerate(queries.slot_names(stack.store)):
            pipe.hset(keys.SLOT + slot, "device_facts", _device(1000 * number + place))
        pipe.execute()


def _slot(stack: Stack, number: int) -> None:
    held = [LoadedModel("noop", Place.DEVICE, 12_000_000_000 + number), LoadedModel("b", Place.PARKED, 6_000_000_000)]
    facts = {
        "models": json.dumps(["noop", *(f"model-{other}" for other in range(9))]), "node": f"node{number // 8}",
        "device": f"cuda:{number % 8}", "device_name": "NVIDIA H200", "loads": "3", "device_facts": _device(number),
        **memory_facts(held),
    }  # fmt: skip
    assert stack.store.register(f"node{number // 8}.gpu{number % 8}", f"node{number // 8}:{number}:1", facts) is None


def _measure(stack: Stack) -> None:
    """Measure something of each family, as a service does that has ten models and sixty routes in use."""
    observe = stack.store.measures.observe
    for family in HISTOGRAMS:
        for number in range(10 if family.labels == ("model",) else 180 if "route" in family.labels else 6):
            labels = [f"{name}-{number}" for name in family.labels]
            for seconds in (0.02, 0.4, 3.0):
                observe(family, *labels, seconds=seconds)
    stack.store.measures.close()


def measure(stack: Stack, secret: str, path: str, samples: int, *, fresh: bool) -> tuple[str, str, str, str, str]:
    """Return the figures of one page. ``fresh``: measure the devices before each sample, and wait."""
    client, web = Client(stack.port), web_process(stack)
    redis = psutil.Process(int(stack.store.client.info("server")["process_id"]))
    for _ in range(2):
        status, content = client.fetch("GET", path, secret=secret)
    if status not in (200, 503):
        return (f"status {status}", "", "", "", "")

    def spent_ms(process: psutil.Process) -> float:
        return 1000 * sum(process.cpu_times()[:2])

    durations_ms, web_ms, redis_ms, commands = [], 0.0, 0.0, 0
    for number in range(samples):
        if fresh:
            _measure_devices(stack, number + 1)
            time.sleep(RECENT_S + 0.1)
        web_ms, redis_ms, commands = web_ms - spent_ms(web), redis_ms - spent_ms(redis), commands - _commands(stack)
        began = time.perf_counter()
        client.fetch("GET", path, secret=secret)
        durations_ms.append(1000 * (time.perf_counter() - began))
        web_ms, redis_ms, commands = web_ms + spent_ms(web), redis_ms + spent_ms(redis), commands + _commands(stack)
    return (
        f"{quantile(durations_ms, 0.5):.1f}", f"{quantile(durations_ms, 0.95):.1f}", f"{web_ms / samples:.1f}",
        f"{redis_ms / samples:.1f}", f"{commands / samples:.0f} ({len(content) / 1000:.0f} kB)",
    )  # fmt: skip


def _commands(stack: Stack) -> int:
    stats: dict[str, Any] = stack.store.client.info("commandstats")
    return sum(int(stat["calls"]) for name, stat in stats.items() if name not in ("cmdstat_info", "cmdstat_ping"))


def rows(size: Size, samples: int, only: str) -> Iterator[tuple[str, ...]]:
    with service(size) as (stack, secrets):
        for key, pages in ((ADMIN, PAGES), (CLIENT, CLIENT_PAGES)):
            for name, path in pages.items():
                if only in name:
                    shown = f"{name}{', a client' if key == CLIENT else ''}"
                    yield (shown, *measure(stack, secrets[key], path, samples, fresh="fresh" in name))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--slots", type=int, default=1000)
    options.add_argument("--keys", type=int, default=1000)
    options.add_argument("--jobs", type=int, default=5000)
    options.add_argument("--samples", type=int, default=30)
    options.add_argument("--only", default="", help="only pages with this in their name")
    options.add_argument("--axes", action="store_true", help="measure also each axis alone")
    chosen = options.parse_args()
    full, few = Size(chosen.slots, chosen.keys, chosen.jobs), Size(2, 10, 100)
    sizes = [full]
    if chosen.axes:
        sizes = [few, Size(full.slots, few.keys, full.slots), Size(few.slots, full.keys, full.keys),
                 Size(few.slots, few.keys, full.jobs), full]  # fmt: skip
    head = ("page", "p50, ms", "p95, ms", "CPU web, ms", "CPU Redis, ms", "commands (size)")
    print(machine())
    for size in sizes:
        print(f"\n{size}:\n")
        print(table(head, list(rows(size, chosen.samples, chosen.only))), flush=True)


if __name__ == "__main__":
    main()
