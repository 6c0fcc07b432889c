"""Compare jobs on a blocking back end with a direct loop over the same server: ``python -m bench.backends``.

The back end is a fake of AUTOMATIC1111 that takes a fixed time per job. The direct loop posts to it and waits for the
answer. Through Framemill the same client submits a job, waits for its end and downloads the picture. With two clients
the next job is queued while the first one runs, so that only what lies between two jobs of the back end counts. Both
sides take turns, job by job.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from bench.common import SHIPPED, Client, clean_environment, machine, short_folder, table
from tests.support.blocking_fleet import await_slot
from tests.support.fake_a1111 import FakeA1111
from tests.support.harness import Stack

SLOT, MODEL = "a1111-1", "automatic1111"
SIZE = {"width": 512, "height": 512, "steps": 20, "seed": 1}
#: Highest ratio at 0.5 s a job.
TARGET = 1.05


@contextlib.contextmanager
def stack_of(fake: FakeA1111) -> Iterator[Stack]:
    """Yield a stack whose only back end is the fake."""
    clean_environment()
    with short_folder() as folder:
        (folder / "models.toml").write_text('[noop]\nexecutor = "noop"\nkinds = ["text2img"]\n')
        (folder / "backends.toml").write_text(f'[{SLOT}]\ntype = "automatic1111"\nendpoint = "{fake.url}"\n')
        stack = Stack(folder, folder / "models.toml", **SHIPPED, BACKENDS_FILE=folder / "backends.toml")
        try:
            stack.up(SLOT, "io")
            await_slot(stack, SLOT, "idle")
            yield stack
        finally:
            stack.close()


def direct(fake: FakeA1111) -> Callable[[], Any]:
    """Return a function that has the fake compute one picture."""
    client = Client(fake.port)

    def call() -> None:
        status, answer = client.send("POST", "/sdapi/v1/txt2img", {"prompt": "a red circle", **SIZE})
        assert status == 200, answer
        assert answer["images"]

    return call


def through(stack: Stack) -> Callable[[], Any]:
    """Return a function that has one picture computed by way of Framemill; it notes how long each part took."""
    client = Client(stack.port)

    def call() -> None:
        status, job = client.send("POST", "/v1/jobs?wait=60", {"model": MODEL, "prompt": "a red circle", **SIZE})
        assert (status, job["state"]) == (201, "succeeded"), job
        status, content = client.fetch("GET", f"/v1/jobs/{job['id']}/result")
        assert status == 200
        assert content

    return call


def seconds_of(make: Callable[[], Callable[[], Any]], clients: int, jobs: int) -> float:
    """Return the seconds per job while each client sends one job after the other."""
    calls = [make() for _ in range(clients)]
    threads = [threading.Thread(target=lambda call=call: [call() for _ in range(jobs)]) for call in calls]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (time.monotonic() - begun) / (jobs * clients)


def measure(lengths_s: list[float], rounds: int, jobs: int) -> str:
    rows = []
    fake = FakeA1111()
    fake.start()
    try:
        with stack_of(fake) as stack:
            through(stack)()
            for length_s in lengths_s:
                fake.step_s = length_s / SIZE["steps"]
                for clients in (1, 2):
                    ours, theirs = [], []
                    for _ in range(rounds):
                        theirs.append(seconds_of(lambda: direct(fake), clients, jobs))
                        ours.append(seconds_of(lambda: through(stack), clients, jobs))
                    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
                    added_ms = 1000 * statistics.median(a - b for a, b in zip(ours, theirs, strict=True))
                    wall = [statistics.median(theirs), statistics.median(ours)]
                    rows.append([length_s, clients, *wall, added_ms, f"{ratio:.3f}"])
    finally:
        fake.stop()
    head = ("s a job", "clients", "direct, s", "through Framemill, s", "added ms", f"ratio (target {TARGET} at 0.5 s)")
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=float, nargs="+", default=[0.1, 0.5, 2.0], help="seconds a job")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=3, help="jobs of each client in a round")
    options = parser.parse_args()
    print(machine())
    print(measure(options.lengths, options.rounds, options.jobs))


if __name__ == "__main__":
    main()
