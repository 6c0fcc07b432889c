"""Clients flood a server with every kind of request; a load balancer that asks ``/readyz`` meanwhile keeps it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.support import drawn_models
from tests.support.harness import Stack

#: Threads that flood, and requests of each kind that each of them sends.
CLIENTS, REQUESTS = 16, 12


@pytest.fixture(scope="module")
def flooded(drawn_models_file: Path) -> Iterator[Stack]:
    """A stack with few connections to Redis, and a short queue."""
    options = {"REDIS_CONNECTIONS": 3, "MAX_WAITING": 20}
    with drawn_models.stack_in_new_folder(drawn_models_file, "gpu0", "io", **options) as stack:
        yield stack


def test_a_flood_of_requests_leaves_the_server_ready(flooded: Stack) -> None:
    over, seen = threading.Event(), Counter[int]()
    watcher = threading.Thread(target=_watch, args=(flooded, over, seen))
    watcher.start()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            answers = Counter(status for some in pool.map(lambda _: _flood(flooded), range(CLIENTS)) for status in some)
    finally:
        over.set()
        watcher.join()
    assert seen.keys() == {200}, seen
    assert {201, 422} <= answers.keys(), answers
    assert flooded.get("/readyz").json()["missing"] == []


def _watch(stack: Stack, over: threading.Event, seen: Counter[int]) -> None:
    """Ask again and again, as a load balancer does; count the statuses."""
    while not over.is_set():
        seen[requests.get(stack.url("/readyz"), timeout=60).status_code] += 1


def _flood(stack: Stack) -> list[int]:
    """Send requests of every kind; return the statuses of the answers."""
    picture = "data:image/png;base64," + "A" * 200_000
    kinds: list[Callable[[], requests.Response]] = [
        lambda: stack.post(model="tiny-image", prompt="x", steps=50),
        lambda: stack.post(model="tiny-image", prompt="x", kind="img2img", image=picture),
        lambda: requests.post(stack.url("/v1/jobs"), data=b"[" * 100_000, timeout=60),
        lambda: requests.get(stack.url("/v1/jobs?limit=500"), timeout=60),
        lambda: requests.get(stack.url("/v1/fleet"), timeout=60),
        lambda: requests.get(stack.url("/v1/jobs/unknown"), timeout=60),
    ]
    return [call().status_code for _ in range(REQUESTS) for call in kinds]
