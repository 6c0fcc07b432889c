"""Run a service for hours, and show whether memory, descriptors and threads stay flat.

``python -m bench.soak [--minutes 120] [--warm-up 30] [--rate 4] [--plot docs/soak.svg]``. Clients of several protocols
submit drawn pictures, wait, follow events, cancel, send wrong requests, upload pictures and read lists. Records and
files are kept for minutes, so that as many are removed as come. Growth is the slope of a line through all samples
after the warm-up (Theil and Sen: the median of the slopes between samples). Ctrl-C ends the run early.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import random
import signal
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import processes
from bench.common import SHIPPED, Client, clean_environment, machine, short_folder, table
from bench.day.plot import Panel, draw
from tests.support.harness import Stack
from tests.support.pictures import PNG

MODELS = """
[drawing]
kinds = ["text2img", "img2img"]
executor = "drawing"
defaults = { steps = 2, width = 64, height = 64 }
limits = { width = [16, 256], height = [16, 256] }
"""
#: Records and files are removed after some minutes, and the event log is short enough to be full by then.
SHORT_LIVED = {
    "RESULT_TTL_S": 240, "RETENTION": "hours", "RETENTION_HOURS": 0.05, "UNUSED_FILES_GRACE_S": 60,
    "EVENT_LOG_LENGTH": 2000, "IDEMPOTENCY_TTL_S": 300, "NOOP_STEP_MS": 20,
}  # fmt: skip
WORKERS = ("gpu0", "gpu1", "io")
CLIENTS = 6
SAMPLE_S = 10.0
#: Fewest samples from which a slope is computed.
MIN_SAMPLES = 3
MIB = 2**20


@dataclass
class Series:
    """What was measured of one process with its children, or of the data in Redis."""

    at_s: list[float] = field(default_factory=list)
    memory_bytes: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def after(self, start_s: float) -> Series:
        first = next((n for n, at_s in enumerate(self.at_s) if at_s >= start_s), len(self.at_s))
        return Series(self.at_s[first:], self.memory_bytes[first:], self.descriptors[first:], self.threads[first:])

    def growth_per_h(self) -> float:
        """Return the growth of the memory in an hour, as a share of its median."""
        if len(self.at_s) < MIN_SAMPLES:
            return float("nan")
        pairs = list(zip(self.at_s, self.memory_bytes, strict=True))
        stride = max(1, len(pairs) // 300)
        slopes = [(b - a) / (t - s) for (s, a), (t, b) in itertools.combinations(pairs[::stride], 2) if t > s]
        return 3600 * statistics.median(slopes) / statistics.median(self.memory_bytes)


class Soak:
    """A service under load. ``run`` returns when the time is over or :attr:`ending` is set."""

    def __init__(self, stack: Stack, rate: float) -> None:
        self.stack, self.rate = stack, rate
        self.ending = threading.Event()
        self.series: dict[str, Series] = {}
        self.done: dict[str, int] = {}
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def run(self, duration_s: float) -> None:
        threads = [threading.Thread(target=self._client, args=(number,), daemon=True) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        begun = time.monotonic()
        while (elapsed_s := time.monotonic() - begun) < duration_s and not self.ending.wait(SAMPLE_S):
            self._sample(elapsed_s)
        self.ending.set()
        for thread in threads:
            thread.join(60)

    def _sample(self, at_s: float) -> None:
        for name, process in self.stack.processes.items():
            pids = processes.tree(process.pid)
            self._add(name, at_s, sum(map(_memory_bytes, pids)), sum(map(_descriptors, pids)), sum(map(_threads, pids)))
        info = self.stack.store.client.info()
        self._add("redis (data)", at_s, int(info["used_memory"]), int(info["connected_clients"]), 0)

    def _add(self, name: str, at_s: float, memory_bytes: int, descriptors: int, threads: int) -> None:
        series = self.series.setdefault(name, Series())
        series.at_s.append(at_s)
        series.memory_bytes.append(memory_bytes)
        series.descriptors.append(descriptors)
        series.threads.append(threads)

    # ---- clients

    def _client(self, number: int) -> None:
        rng = random.Random(number)
        actions: Sequence[Callable[[Client, random.Random], None]] = (
            self.wait, self.wait, self.follow, self.stop, self.refused, self.openai, self.change, self.read, self.a1111,
        )  # fmt: skip
        client = Client(self.stack.port)
        while not self.ending.is_set():
            action = rng.choice(actions)
            begun = time.monotonic()
            try:
                action(client, rng)
            except Exception as exc:
                self.failures.append(f"{action.__name__}: {exc!r}")
                client.close()
            with self._lock:
                self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
            self.ending.wait(max(0.0, CLIENTS / self.rate * 2 * rng.random() - (time.monotonic() - begun)))
        client.close()

    def _submit(self, client: Client, rng: random.Random, **fields: Any) -> str:
        body = {"model": "drawing", "prompt": "a red circle " * rng.randint(1, 40), "seed": rng.randint(0, 9), **fields}
        status, job = client.send("POST", "/v1/jobs", body)
        assert status == 201, job
        return str(job["id"])

    def _result(self, client: Client, job_id: str) -> None:
        for _ in range(20):
            job = client.send("GET", f"/v1/jobs/{job_id}?wait=30")[1]
            if job["state"] in ("succeeded", "failed", "cancelled"):
                break
        assert job["state"] == "succeeded", job
        assert client.fetch("GET", f"/v1/jobs/{job_id}/result")[0] == 200

    def wait(self, client: Client, rng: random.Random) -> None:
        """Submit, wait, download."""
        self._result(client, self._submit(client, rng))

    def follow(self, client: Client, rng: random.Random) -> None:
        """Follow the events of a job."""
        job_id = self._submit(client, rng, steps=20)
        assert b"succeeded" in client.fetch("GET", f"/v1/jobs/{job_id}/events")[1]

    def stop(self, client: Client, rng: random.Random) -> None:
        """Stop a job somewhere between its submission and its end."""
        job_id = self._submit(client, rng, steps=100)
        self.ending.wait(2 * rng.random())
        assert client.send("POST", f"/v1/jobs/{job_id}/cancel", {})[0] in (200, 409)

    def refused(self, client: Client, rng: random.Random) -> None:
        """Send a wrong request, and ask for what does not exist."""
        assert client.send("POST", "/v1/jobs", {"model": "drawing", "width": "wide"})[0] == 422
        assert client.send("GET", f"/v1/jobs/none-{rng.randint(0, 10**9)}")[0] == 404

    def openai(self, client: Client, rng: random.Random) -> None:
        """Make a picture as a client of OpenAI does."""
        body = {"model": "drawing", "prompt": "a red circle", "size": "64x64", "n": 1}
        assert client.send("POST", "/v1/images/generations", body)[0] == 200

    def change(self, client: Client, rng: random.Random) -> None:
        """Send a picture with the request."""
        image = base64.b64encode(PNG + rng.randbytes(16)).decode()
        self._result(client, self._submit(client, rng, image=image, strength=0.5))

    def read(self, client: Client, rng: random.Random) -> None:
        """Read what dashboards read."""
        for path in ("/v1/jobs?limit=50", "/v1/fleet", "/v1/queue", "/v1/models", "/readyz"):
            assert client.send("GET", path)[0] == 200
        assert client.fetch("GET", "/metrics")[0] == 200

    def a1111(self, client: Client, rng: random.Random) -> None:
        """Make a picture as a client of AUTOMATIC1111 does."""
        body = {"prompt": "a red circle", "steps": 2, "width": 64, "height": 64}
        assert client.send("POST", "/sdapi/v1/txt2img", body)[0] == 200


def _memory_bytes(pid: int) -> int:
    """Return the memory that a process has written to, shared pages divided by the number of those that share them.

    Pages of libraries are left out: other processes that come and go share them.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) * 1024
    return 0


def _descriptors(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return 0


def _threads(pid: int) -> int:
    with contextlib.suppress(OSError):
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    return 0


def report(soak: Soak, warm_up_s: float) -> str:
    rows = []
    for name, series in soak.series.items():
        rest = series.after(warm_up_s)
        if not rest.at_s:
            continue
        rows.append([
            name, rest.memory_bytes[0] / MIB, rest.memory_bytes[-1] / MIB, f"{100 * rest.growth_per_h():+.1f} %",
            f"{min(rest.descriptors)} to {max(rest.descriptors)}", f"{min(rest.threads)} to {max(rest.threads)}",
        ])  # fmt: skip
    head = ("process", "MiB after the warm-up", "MiB at the end", "growth in an hour", "descriptors", "threads")
    done = ", ".join(f"{name} {count:,}" for name, count in sorted(soak.done.items()))
    failures = "\n".join(f"failed: {text}" for text in soak.failures[:20])
    hours = max((series.at_s[-1] for series in soak.series.values()), default=0) / 3600
    return f"{hours:.2f} h; {done}; {len(soak.failures)} failures\n\n{table(head, rows)}\n{failures}"


def plot(soak: Soak) -> str:
    """Return the SVG picture of the memory of all processes."""
    hours = max(series.at_s[-1] for series in soak.series.values()) / 3600
    panels = [
        Panel(f"{name}, MiB", [("memory", [size / MIB for size in series.memory_bytes])], lambda value: f"{value:.1f}")
        for name, series in soak.series.items()
    ]
    return draw(f"Memory of a service under load for {hours:.1f} hours", panels, hours)


def run(minutes: float, rate: float) -> Soak:
    """Run the service and its clients; SIGINT and SIGTERM end it early."""
    clean_environment()
    with short_folder() as folder:
        models = folder / "models.toml"
        models.write_text(MODELS)
        stack = Stack(folder, models, **SHIPPED, **SHORT_LIVED)
        soak = Soak(stack, rate)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: soak.ending.set())
        try:
            stack.up(*WORKERS)
            soak.run(60 * minutes)
        finally:
            stack.close()
    return soak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--warm-up", type=float, default=30, help="minutes")
    parser.add_argument("--rate", type=float, default=4, help="actions of all clients in a second")
    parser.add_argument("--plot", type=Path, help="write an SVG picture to this file")
    options = parser.parse_args()
    print(machine(), flush=True)
    soak = run(options.minutes, options.rate)
    print(report(soak, 60 * options.warm_up))
    if options.plot:
        options.plot.write_text(plot(soak), encoding="utf-8")


if __name__ == "__main__":
    main()
