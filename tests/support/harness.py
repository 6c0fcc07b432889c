"""A complete Framemill on this machine, made of real processes, for one test or for all."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import requests

from jobs.callers import Caller, Role
from jobs.files import spool
from jobs.settings import PROJECT_ROOT, Settings
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.jobs import JobStore
from stack import ports
from stack.embedded_redis.server import EmbeddedRedis
from stack.parent import terminate_with_parent
from tests.support.api import ENDLESS_STEPS, PATIENCE_S, Api, wait_for

__all__ = ["ENDLESS_STEPS", "PATIENCE_S", "Stack", "files_below", "in_spool", "running", "wait_for"]

#: Ports from here to 32,000 are below those that the system gives to outgoing connections.
_FIRST_PORT = 20_000
BIN = Path(sys.executable).parent


def files_below(folder: Path) -> list[Path]:
    """Return the files of a folder that others may be changing: Path.rglob fails if a folder goes while it is read."""
    return [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]


class Stack(Api):
    """Redis, web server and workers as processes. Start what is needed; :meth:`close` ends everything."""

    alive: ClassVar[list[Stack]] = []

    def __init__(self, folder: Path, models_file: Path, **environment: Any) -> None:
        self.folder = folder
        self.environment = {
            "DATA_DIR": str(folder),
            "MODELS_FILE": str(models_file),
            "CPU_THREADS": "1",
            "LOG_FORMAT": "text",
            "HEARTBEAT_S": "0.5",
            "SLOT_LEASE_S": "3",
            "RESEND_AFTER_S": "2",
            "DRAIN_GRACE_S": "1",
            "CANCEL_GRACE_S": "3",
            **{name: str(value) for name, value in environment.items()},
        }
        self.settings = Settings.from_env(self.environment)
        self.redis = EmbeddedRedis(self.settings)
        self.store = JobStore(self.settings)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = 0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let jobs that are submitted inside the block begin to run at its end."""
        self.store.pause_slots()
        try:
            yield
        finally:
            self.store.pause_slots(resume=True)

    # ---- processes

    def up(self, *workers: str) -> Stack:
        """Start Redis, the web server and these workers (``gpu0``, ``io``), and wait until all are ready."""
        self.alive.append(self)
        if self.settings.embedded_redis:
            self.redis.start()
        for queue in workers:
            self.worker(queue)
        self.web()
        wait_for(lambda: self._ready(workers), "the stack to be ready")
        return self

    def web(self, *, root: Path | str = PROJECT_ROOT) -> None:
        """Start the web server from the checkout in ``root``."""
        self.port = self.port or ports.next_free("127.0.0.1", _FIRST_PORT + 101 * os.getpid() % 12_000)
        # A web worker whose master was killed keeps responding until it notices.
        wait_for(lambda: ports.refusal("127.0.0.1", self.port) is None, "the port of the web server to be free")
        process = self.run("web", "gunicorn", "app:create_app()", root=root, PORT=str(self.port))

        def answers() -> bool:
            assert process.poll() is None, f"the web server ended:\n{self.log('web')}"
            return self._answers("/healthz")

        wait_for(answers, "the web server")

    def worker(
        self, queue: str, *options: str, root: Path | str = PROJECT_ROOT, **environment: str
    ) -> subprocess.Popen[bytes]:
        name = f"{queue}@%h"
        command = ("celery", "-A", "tasks", "worker", "-Q", queue, "-n", name, "--without-gossip", "--without-mingle")
        return self.run(queue, *command, *options, root=root, **environment)

    def run(
        self, name: str, command: str, *arguments: str, root: Path | str = PROJECT_ROOT, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start one process in its own group, from the checkout in ``root``; its output goes to ``<name>.log``."""
        log = (self.folder / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [BIN / command, *arguments],
            cwd=root,
            env={**os.environ, "PYTHONPATH": f"{root}/src:{root}", **self.environment, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=terminate_with_parent,  # a killed test run leaves no process behind
        )
        log.close()
        return self.processes[name]

    def start_refused(self, command: str, *arguments: str, **environment: str) -> str:
        """Run a process that cannot start; return the last line that it writes."""
        done = subprocess.run(
            [BIN / command, *arguments], cwd=PROJECT_ROOT, env={**os.environ, **self.environment, **environment},
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode != 0
        return done.stderr.splitlines()[-1]

    def first_key(self, service: str = "ops") -> str:
        """Create an admin key on the server's host; return its secret when the processes know it, within a second."""
        secret = KeyRing(self.store).create(Caller(key_id=service, role=Role.ADMIN))
        wait_for(lambda: self.get("/v1/queue").status_code == 401, "the server to ask for a key")
        return secret

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def child(self, name: str) -> int:
        """Return the process id of the pool child of a worker."""
        parent = self.processes[name].pid
        return int(wait_for(lambda: _children(parent), f"a child of {name}")[0])

    def kill(self, name: str, signum: int = signal.SIGKILL) -> None:
        """Kill a process. Its children are left alone, as the system does when a parent dies."""
        process = self.processes.pop(name)
        process.send_signal(signum)
        process.wait(PATIENCE_S)

    def close(self) -> None:
        self.alive.remove(self)
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(6)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.redis.stop()
        if self.settings.spool_memory:
            shutil.rmtree(self.settings.spool_memory, ignore_errors=True)

    def _answers(self, path: str) -> bool:
        try:
            return self.get(path).status_code == 200
        except (requests.ConnectionError, requests.Timeout):
            return False

    def _ready(self, workers: tuple[str, ...]) -> bool:
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name} ended:\n{self.log(name)}"
        ready = self.get("/readyz").json()
        gpus = {name for name in workers if name.startswith("gpu")}
        return gpus <= set(ready["slots"]) and ("io" not in workers or bool(ready["delivery"]))


def in_spool(settings: Settings, root: Path | None) -> list[str]:
    """Return the attempts whose frames are in a root of the spool."""
    assert root is not None
    return sorted(path.parent.name for path in root.glob(f"*/{spool.FRAMES}"))


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@contextlib.contextmanager
def running(folder: Path, models_file: Path, *workers: str, **environment: Any) -> Iterator[Stack]:
    """Yield a stack for one ``with`` block."""
    stack = Stack(folder, models_file, **environment)
    try:
        yield stack.up(*workers)
    finally:
        stack.close()
