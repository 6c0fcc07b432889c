"""Compare blocking calls of AUTOMATIC1111's API with the same jobs through the native API.

``python -m bench.a1111 [--rounds 3] [--seconds 5]``. The image is drawn without a model, 64 × 64 pixels, and encoded
and stored like any other.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

from bench.common import (
    SHIPPED,
    Client,
    Sample,
    clean_environment,
    closed_loop,
    machine,
    median_sample,
    short_folder,
    table,
)
from tests.support.harness import Stack

CLIENTS = (1, 16)
MODELS = '[drawn]\nexecutor = "drawing"\nkinds = ["text2img"]\ndefaults = { steps = 1, width = 64, height = 64 }\n'
SIDES = ("txt2img", "txt2img with force_task_id", "native: submit, wait, result")


def calls(port: int, side: str) -> Callable[[], Callable[[], None]]:
    """Return a function that makes one client per thread; each call waits for its image."""
    numbers = itertools.count()

    def make() -> Callable[[], None]:
        client = Client(port)

        def txt2img() -> None:
            # Every body is different; an equal one would first be checked for being a repetition.
            number = next(numbers)
            body = {"prompt": f"a red circle {number}", "steps": 1}
            if side == SIDES[1]:
                body["force_task_id"] = f"{id(client)}-{number}"
            status, answer = client.send("POST", "/sdapi/v1/txt2img", body)
            assert status == 200, answer
            assert len(answer["images"]) == 1

        def native() -> None:
            status, answer = client.send("POST", "/v1/jobs?wait=30", {"prompt": "a red circle", "steps": 1})
            assert status == 201, answer
            status, content = client.fetch("GET", f"/v1/jobs/{answer['id']}/result")
            assert status == 200, content[:200]

        return native if side == SIDES[2] else txt2img

    return make


def measure(rounds: int, seconds: float) -> str:
    clean_environment()
    samples: dict[tuple[str, int], list[Sample]] = {}
    with short_folder() as folder:
        (folder / "models.toml").write_text(MODELS)
        stack = Stack(folder, folder / "models.toml", **SHIPPED)
        try:
            stack.up("gpu0", "io")
            for side in SIDES:
                closed_loop(calls(stack.port, side), 2, 1.0)
            for _ in range(rounds):
                for clients in CLIENTS:
                    for side in SIDES:
                        sample = closed_loop(calls(stack.port, side), clients, seconds)
                        samples.setdefault((side, clients), []).append(sample)
        finally:
            stack.close()
    middle = {key: median_sample(rounds_) for key, rounds_ in samples.items()}
    rows = [
        [side, clients, one.per_s, one.p50_ms, one.p99_ms, one.per_s / middle[SIDES[2], clients].per_s]
        for clients in CLIENTS
        for side in SIDES
        for one in [middle[side, clients]]
    ]
    return table(("a drawn image", "clients", "images/s", "p50 ms", "p99 ms", "of the native API"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round")
    options = parser.parse_args()
    print(machine())
    print(measure(options.rounds, options.seconds))


if __name__ == "__main__":
    main()
