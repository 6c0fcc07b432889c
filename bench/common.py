"""Shared by the benchmarks: a stack, a lean HTTP client, medians, tables."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import platform
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from jobs.settings.settings import defaults
from tests.support.harness import Stack

#: The default values where the tests' harness has shorter ones, so that the measured server is the shipped one.
SHIPPED = {
    variable: defaults()[variable]
    for variable in ("HEARTBEAT_S", "SLOT_LEASE_S", "RESEND_AFTER_S", "DRAIN_GRACE_S", "CANCEL_GRACE_S")
}

NOOP_MODELS = """
[noop]
kinds = ["text2img"]
executor = "noop"
defaults = { steps = 1 }
limits = { steps = [1, 1000000] }
"""


def clean_environment() -> None:
    """Remove settings of the caller's shell from the environment, and disable hubs and clouds."""
    for variable in defaults():
        os.environ.pop(variable, None)
    os.environ.update(HF_HUB_OFFLINE="1", AWS_EC2_METADATA_DISABLED="true", AWS_CONFIG_FILE=os.devnull)


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a folder with a path that is short enough for a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="fmb-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def noop_models(folder: Path) -> Path:
    path = folder / "models.toml"
    path.write_text(NOOP_MODELS)
    return path


@contextlib.contextmanager
def noop_stack(*workers: str, **environment: Any) -> Iterator[Stack]:
    """Yield a stack of Redis, web and these workers with the default settings and a model that computes nothing."""
    clean_environment()
    with short_folder() as folder:
        stack = Stack(folder, noop_models(folder), **{**SHIPPED, **environment})
        try:
            yield stack.up(*workers)
        finally:
            stack.close()


class Client:
    """A JSON client with one persistent connection. Each thread needs its own."""

    def __init__(self, port: int, timeout_s: float = 60.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)

    def send(self, method: str, path: str, body: Any = None, *, secret: str | None = None) -> tuple[int, Any]:
        """Return the status and the decoded body.

        Raises:
            OSError, http.client.HTTPException: the connection failed; the next call connects again.
        """
        status, content = self.fetch(method, path, body, secret=secret)
        return status, json.loads(content) if content else None

    def fetch(self, method: str, path: str, body: Any = None, *, secret: str | None = None) -> tuple[int, bytes]:
        """Return the status and the raw body."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} if data else {}
        if secret:
            headers["Authorization"] = f"Bearer {secret}"
        try:
            self._connection.request(method, path, data, headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


@dataclasses.dataclass(frozen=True)
class Sample:
    """One round: number of calls, rate and durations."""

    count: float
    per_s: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, durations_s: Sequence[float], wall_s: float) -> Sample:
        p50_ms, p99_ms = (1000 * quantile(durations_s, share) for share in (0.5, 0.99))
        return cls(len(durations_s), len(durations_s) / wall_s, p50_ms, p99_ms)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the quantile of the values (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def median_sample(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure over rounds."""
    return Sample(*(statistics.median(getattr(s, f.name) for s in samples) for f in dataclasses.fields(Sample)))


def closed_loop(make: Callable[[], Callable[[], None]], clients: int, duration_s: float) -> Sample:
    """Let ``clients`` threads each call the function that ``make()`` returns, repeatedly, for ``duration_s``."""
    durations: list[float] = []
    errors: list[BaseException] = []
    begun = time.perf_counter()
    deadline = begun + duration_s

    def work() -> None:
        try:
            call = make()
            while (start := time.perf_counter()) < deadline:
                call()
                durations.append(time.perf_counter() - start)
        except BaseException as exc:
            errors.append(exc)
            raise

    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Sample.of(durations, time.perf_counter() - begun)


def machine() -> str:
    """Return one line that describes the machine."""
    models = (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name"))
    cpu = next(models, "unknown")
    return (
        f"{os.cpu_count()} cores ({cpu}), Python {platform.python_version()}, Linux {platform.release()}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
