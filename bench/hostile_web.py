"""The web process of any checkout beside a Redis of its own, its stalls and its memory: for ``bench/hostile.py``."""

from __future__ import annotations

import contextlib
import http.client
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from bench.common import NOOP_MODELS, clean_environment, short_folder
from bench.processes import children, memory_bytes
from jobs.settings import Settings
from stack import ports
from stack.embedded_redis.server import EmbeddedRedis
from stack.parent import terminate_with_parent

#: Interval of probes, seconds. They measure stalls of a hundred milliseconds.
PROBE_INTERVAL_S = 0.02
#: Longest wait for a probe, seconds; a stall that is at least this long is shown as this.
PROBE_TIMEOUT_S = 30.0
#: Interval at which the memory of the web process is read, seconds.
MEMORY_INTERVAL_S = 0.02
#: Priority of the web process and of the prober.
PRIORITY = -15
MB = 1e6

ENDPOINT = """
[ENDPOINT]
name = "sound"
version = 1
[WORKER]
job_type = "sound"
auth_key = "worker-secret"
[INPUTS]
prompt = { type = "string" }
audio = { type = "audio", format = { supported = ["wav"], auto_convert = true } }
[OUTPUTS]
text = { type = "string" }
"""


@dataclass(frozen=True)
class Cost:
    """What a load did to the web process."""

    longest_stall_s: float
    #: The longest wait for a process that does nothing but answer probes: what other work of the machine adds.
    machine_s: float
    #: Memory at its peak beyond that of the idle process.
    peak_bytes: int
    tracebacks: int
    #: Whether gunicorn had to replace the process.
    died: bool


class Web:
    """gunicorn of one checkout, without workers."""

    def __init__(self, checkout: Path, folder: Path, **environment: str) -> None:
        self.port = ports.next_free("127.0.0.1", 20_000 + 101 * os.getpid() % 20_000)
        self._log = folder / "web.log"
        (folder / "models.toml").write_text(NOOP_MODELS)
        (folder / "endpoints" / "sound").mkdir(parents=True, exist_ok=True)
        (folder / "endpoints" / "sound" / "aime_api_endpoint.cfg").write_text(ENDPOINT)
        variables = {
            "DATA_DIR": str(folder), "MODELS_FILE": str(folder / "models.toml"), "PORT": str(self.port),
            "ENDPOINTS_DIR": str(folder / "endpoints"), "PYTHONPATH": f"{checkout / 'src'}{os.pathsep}{checkout}",
        }  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).parent / "gunicorn", "app:create_app()"],
                cwd=checkout, env={**os.environ, **variables, **environment}, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_of_the_web_process,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while not _probe(self.port, 5.0):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"the web process does not start:\n{self._log.read_text()}")
            time.sleep(0.05)

    def close(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(8)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    @contextlib.contextmanager
    def measured(self) -> Iterator[list[Cost]]:
        """Measure what the body of the block costs; the list has the result afterwards."""
        (pid,) = children(self._process.pid)
        idle_bytes, costs, over = memory_bytes(pid), list[Cost](), threading.Event()
        peaks = [idle_bytes]
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak counts from here

        def watch() -> None:
            while not over.wait(MEMORY_INTERVAL_S):
                peaks.append(_peak_bytes(pid))

        watcher = threading.Thread(target=watch)
        with _child(_answer_probes) as control:
            control_port = control.recv()
            with _child(_probe_until_told, self.port) as prober, _child(_probe_until_told, control_port) as other:
                prober.recv()  # both have begun when this and the next line have returned
                other.recv()
                watcher.start()
                try:
                    yield costs
                    time.sleep(0.5)
                finally:
                    over.set()
                    watcher.join()
                    prober.send(None)
                    other.send(None)
                    longest_stall_s, machine_s = prober.recv(), other.recv()
        died = pid not in children(self._process.pid)
        tracebacks = self._log.read_text(errors="replace").count("Traceback (most recent call last)")
        costs.append(Cost(longest_stall_s, machine_s, max(peaks) - idle_bytes, tracebacks, died))


@contextlib.contextmanager
def web(checkout: Path, **environment: str) -> Iterator[Web]:
    """Run a web process for one ``with`` block."""
    clean_environment()
    with short_folder() as folder, EmbeddedRedis(Settings.of(data_dir=folder)):
        process = Web(checkout, folder, **environment)
        try:
            yield process
        finally:
            process.close()


def _of_the_web_process() -> None:
    terminate_with_parent()
    _precede_other_work()


def _precede_other_work() -> None:
    """Run before other processes of the machine, if that is permitted: their turns would be measured as stalls."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)


def _peak_bytes(pid: int) -> int:
    try:
        match = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0


def _probe(port: int, timeout_s: float) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def _child(target: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    """Run a function in a process of its own for one ``with`` block; its last argument is the other end of the pipe."""
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=target, args=(*arguments, its), daemon=True)
    process.start()
    try:
        yield mine
    finally:
        process.terminate()
        process.join()


def _answer_probes(told: Connection) -> None:
    """Answer probes until the process is ended; send the port first."""
    _precede_other_work()
    with socket.create_server(("127.0.0.1", 0)) as server:
        told.send(server.getsockname()[1])
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def _probe_until_told(port: int, told: Connection) -> None:
    """Send probes until a message comes; answer with the longest time that ``/healthz`` did not answer, seconds."""
    _precede_other_work()
    longest_s, answered_at = 0.0, time.monotonic()
    told.send(None)
    while not told.poll(PROBE_INTERVAL_S):
        asked_at = time.monotonic()
        answered = _probe(port, PROBE_TIMEOUT_S)
        now = time.monotonic()
        longest_s = max(longest_s, now - (asked_at if answered else answered_at))
        answered_at = now if answered else answered_at
    told.send(longest_s)
