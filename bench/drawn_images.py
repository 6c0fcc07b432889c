"""Drawn images of 64 × 64 pixels through a protocol, compared with the same jobs through the native API."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.common import (
    SHIPPED,
    Client,
    Sample,
    clean_environment,
    closed_loop,
    median_sample,
    short_folder,
    table,
)
from tests.support.harness import Stack

CLIENTS = (1, 16)
MODELS = '[drawn]\nexecutor = "drawing"\nkinds = ["text2img"]\ndefaults = { steps = 1, width = 64, height = 64 }\n'
NATIVE = "native: submit, wait, result"

#: Returns the function that each thread calls to make its client's call, by port and side.
Calls = Callable[[int, str], Callable[[], Callable[[], None]]]


def native(client: Client) -> None:
    """Submit a job, wait for it and fetch its image."""
    status, answer = client.send("POST", "/v1/jobs?wait=30", {"prompt": "a red circle"})
    assert status == 201, answer
    status, content = client.fetch("GET", f"/v1/jobs/{answer['id']}/result")
    assert status == 200, content[:200]


def compare(sides: Sequence[str], calls: Calls, rounds: int, seconds: float) -> str:
    """Measure each side in turn, with one client and with many; the last one is :data:`NATIVE`."""
    clean_environment()
    samples: dict[tuple[str, int], list[Sample]] = {}
    with short_folder() as folder:
        (folder / "models.toml").write_text(MODELS)
        stack = Stack(folder, folder / "models.toml", **SHIPPED)
        try:
            stack.up("gpu0", "io")
            for side in sides:
                closed_loop(calls(stack.port, side), 2, 1.0)
            for _ in range(rounds):
                for clients in CLIENTS:
                    for side in sides:
                        sample = closed_loop(calls(stack.port, side), clients, seconds)
                        samples.setdefault((side, clients), []).append(sample)
        finally:
            stack.close()
    middle = {key: median_sample(rounds_) for key, rounds_ in samples.items()}
    rows = [
        [side, clients, one.per_s, one.p50_ms, one.p99_ms, one.per_s / middle[NATIVE, clients].per_s]
        for clients in CLIENTS
        for side in sides
        for one in [middle[side, clients]]
    ]
    return table(("a drawn image", "clients", "images/s", "p50 ms", "p99 ms", "of the native API"), rows)
