"""Compare blocking calls of AUTOMATIC1111's API with the same jobs through the native API.

``python -m bench.a1111 [--rounds 3] [--seconds 5]``. The image is drawn without a model, 64 × 64 pixels, and encoded
and stored like any other.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

from bench.common import Client, machine
from bench.drawn_images import NATIVE, compare, native

SIDES = ("txt2img", "txt2img with force_task_id", NATIVE)


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

        return (lambda: native(client)) if side == NATIVE else txt2img

    return make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round")
    options = parser.parse_args()
    print(machine())
    print(compare(SIDES, calls, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
