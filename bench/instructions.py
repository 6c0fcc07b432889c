"""Count the machine instructions that ``redis-server`` executes in the scripts of a no-op job.

``python -m bench.instructions [--jobs 3]`` needs valgrind. Unlike times, the counts do not depend on what else the
machine does, so they show changes of a percent. Receiving the call and sending the reply are left out.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.common import clean_environment, short_folder, table
from jobs.settings import Settings
from jobs.store.jobs import JobStore
from stack.embedded_redis import binary, config
from tasks.celery_app import app
from tasks.message import job_message
from tests.support.harness import wait_for
from tests.support.store_driver import StoreDriver

SLOT = "gpu0"
#: Jobs that are run before those that are counted.
WARM_UP = 5


class Counter:
    """A Redis server whose instructions are counted.

    Args:
        process: callgrind with the server.
        counts: the beginning of the paths to which callgrind writes its counts.
    """

    def __init__(self, process: subprocess.Popen[bytes], counts: Path) -> None:
        self._process, self._counts = process, counts

    def count(self, call: Callable[[], object]) -> int:
        """Return the number of instructions in the script that ``call`` runs."""
        self._dump()
        call()
        return self._dump()

    def _dump(self) -> int:
        """Return the number of instructions since the last dump."""
        subprocess.run(["callgrind_control", "--dump", str(self._process.pid)], check=True, capture_output=True)
        total = 0
        for path in self._counts.parent.glob(f"{self._counts.name}.*"):
            total += sum(int(number) for number in re.findall(r"^totals: (\d+)", path.read_text(), re.MULTILINE))
            path.unlink()
        return total


@contextmanager
def counted_redis(folder: Path) -> Iterator[tuple[Settings, Counter]]:
    """Yield the settings of a server that callgrind runs, and its counter."""
    settings = Settings.of(data_dir=folder, redis_timeout_s=60)
    socket, server, counts = settings.redis_socket, binary.find_binary(), folder / "counts"
    socket.parent.mkdir()
    options = config.write_config(socket.parent, socket, socket.parent / "redis.log", server)
    process = subprocess.Popen(
        [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}", "--collect-atstart=no",
            "--toggle-collect=evalShaCommand", str(server.path), str(options),
        ],
        cwd=folder, env={**os.environ, "LC_ALL": "C"}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(socket.exists, "Redis")
        yield settings, Counter(process, counts)
    finally:
        process.terminate()
        process.wait()


def measure(jobs: int) -> dict[str, float]:
    """Return the median number of instructions by script."""
    clean_environment()
    seen: dict[str, list[int]] = {}
    with short_folder() as folder, counted_redis(folder) as (settings, counter):
        driver = StoreDriver(settings)
        driver.store = JobStore(settings, message=job_message(app))
        driver.open(SLOT)
        calls: dict[str, Callable[[], object]] = {
            "submit": driver.submit, "start_run": driver.start, "finish_run": driver.finish,
        }  # fmt: skip
        for number in range(WARM_UP + jobs):
            for name, call in calls.items():
                count = counter.count(call)
                if number >= WARM_UP:
                    seen.setdefault(name, []).append(count)
            driver.redis.delete(SLOT)  # the messages of its queue
    return {name: statistics.median(counts) for name, counts in seen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3, help="jobs that are counted")
    medians = measure(parser.parse_args().jobs)
    rows = [[name, f"{count:,.0f}"] for name, count in medians.items()]
    print(table(("script", "instructions"), [*rows, ["all", f"{sum(medians.values()):,.0f}"]]))


if __name__ == "__main__":
    main()
