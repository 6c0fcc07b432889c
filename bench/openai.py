"""Compare blocking calls of OpenAI's API with the same jobs through the native API, and measure its partial images.

``python -m bench.openai [--rounds 3] [--seconds 5]``. The image is drawn without a model, 64 × 64 pixels, and encoded
and stored like any other.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import statistics
import time
from collections.abc import Callable
from datetime import datetime

from bench.common import SHIPPED, Client, machine, short_folder, table
from bench.drawn_images import MODELS, NATIVE, compare, native
from tests.support.harness import Stack

SIDES = ("images/generations", "images/generations, url", NATIVE)
#: Streams whose partial images are timed, their steps, and the duration of each, ms.
STREAMS, STEPS, STEP_MS = 20, 30, 50


def calls(port: int, side: str) -> Callable[[], Callable[[], None]]:
    """Return a function that makes one client per thread; each call waits for its image."""
    numbers = itertools.count()

    def make() -> Callable[[], None]:
        client = Client(port)

        def generations() -> None:
            # Every body is different; an equal one would first be checked for being a repetition.
            body = {"model": "drawn", "prompt": f"a red circle {next(numbers)}"}
            if side == SIDES[1]:
                body["response_format"] = "url"
            status, answer = client.send("POST", "/v1/images/generations", body)
            assert status == 200, answer
            assert len(answer["data"]) == 1

        return (lambda: native(client)) if side == NATIVE else generations

    return make


def partial_delays_ms(port: int) -> list[float]:
    """Return how long after the step that it shows the first partial image of each stream arrived, ms."""
    delays = []
    for number in range(STREAMS):
        body = {"model": "drawn", "prompt": f"a stream {number}", "stream": True, "partial_images": 1, "steps": STEPS}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/images/generations", json.dumps(body), {"Content-Type": "application/json"})
        response, arrived_s, step = connection.getresponse(), 0.0, 0
        for line in response:
            event = json.loads(line[6:]) if line.startswith(b"data: ") else {}
            if event.get("type") == "image_generation.partial_image" and not step:
                arrived_s, step = time.time(), event["step"]
        [job] = Client(port).send("GET", "/v1/jobs?limit=1")[1]["jobs"]
        begun_s = datetime.fromisoformat(job["started_at"]).timestamp()
        delays.append((arrived_s - begun_s) * 1000 - step * STEP_MS)
        connection.close()
    return delays


def measure_partial_images() -> str:
    with short_folder() as folder:
        (folder / "models.toml").write_text(MODELS)
        stack = Stack(folder, folder / "models.toml", **{**SHIPPED, "NOOP_STEP_MS": STEP_MS})
        try:
            stack.up("gpu0", "io")
            delays = sorted(partial_delays_ms(stack.port))
        finally:
            stack.close()
    rows = [[len(delays), statistics.median(delays), delays[-2], delays[-1]]]
    return table(("streams", "step to first partial image, p50 ms", "p95 ms", "longest ms"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one round")
    options = parser.parse_args()
    print(machine())
    print(compare(SIDES, calls, options.rounds, options.seconds))
    print(measure_partial_images())


if __name__ == "__main__":
    main()
