"""``python -m bench.residency``: measure how long models take from disk, to RAM and back.

For other models than the shipped ones: ``MODELS_FILE=… python -m bench.residency [NAME …]``.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from bench.common import machine, table
from jobs.models.registry import ModelRegistry
from jobs.models.spec import ModelSpec
from jobs.settings import Settings
from jobs.slots.residency import Place
from workers.pipelines.cache import PipelineCache


def timed_ms(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - begun)


def measure(spec: ModelSpec, settings: Settings, rounds: int = 5) -> list[object]:
    """Return name, MiB, and median milliseconds: first load, later loads, to RAM, back, unload."""
    cache = PipelineCache(settings)
    loads, parks, returns, unloads = [], [], [], []
    for _ in range(rounds):
        loads.append(timed_ms(lambda: cache.get(spec, spec.kinds[0])))
        entry = cache.touch(spec.name)
        assert entry is not None
        size = entry.bytes
        parks.append(timed_ms(lambda e=entry: cache.move(e, Place.PARKED)))  # type: ignore[misc]
        returns.append(timed_ms(lambda e=entry: cache.move(e, Place.DEVICE)))  # type: ignore[misc]
        del entry
        unloads.append(timed_ms(lambda: cache.unload(spec.name)))
    middle = statistics.median
    return [spec.name, size / 2**20, loads[0], middle(loads[1:]), middle(parks), middle(returns), middle(unloads)]


def main(names: list[str]) -> int:
    settings = Settings.from_env()
    registry = ModelRegistry.from_file(settings.paths.models_file)
    print(machine(), flush=True)
    head = ("model", "MiB", "first load ms", "load ms", "to RAM ms", "back ms", "unload ms")
    print(table(head, [measure(registry.get(name), settings) for name in names or registry.names()]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
