"""A complete Framemill in the test process: the web server, the slots and the delivery are threads.

Everything but the process boundaries is real: HTTP on a port, Redis, the messages of the slots, ``workers.gpu.run``,
deliveries, leases, the health checks of back ends, the sweep, the janitor and the webhook sender. It is for tests of
what happens to a job; tests of processes that die need a :class:`~tests.support.harness.Stack`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

import workers.delivery.deliver as delivering
from app import factory
from app.extensions import of
from jobs.errors import Unavailable
from jobs.slots.slot import Redelivery, owner_name
from tasks import runtime
from tasks.celery_app import create_celery
from tasks.dispatch import Dispatcher
from tests.support.harness import Stack
from workers.delivery.task import deliver
from workers.gpu import compute, endings, run, shared_run, task
from workers.gpu.slot_process import SlotProcess
from workers.parent import webhook_sender
from workers.parent.delivery_worker import DeliveryWorker
from workers.parent.slot_worker import SlotWorker
from workers.parent.sweeper import Sweeper
from workers.reporting.stop_signal import stop_hint

#: Functions that cache values of the settings.
CACHES: tuple[Any, ...] = (
    runtime.settings, runtime.backends, runtime._store_of, runtime._dispatcher_of, delivering._objects,
    webhook_sender._objects,
)  # fmt: skip
#: Replaces Celery's worker, without children.
WORKER = SimpleNamespace(consumer=None, pool=SimpleNamespace(_pool=SimpleNamespace(_pool=[])))


class _QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Log nothing."""


class _Dispatcher(Dispatcher):
    """Sends deliveries to a queue of this process."""

    def __init__(self, deliveries: queue.SimpleQueue[Redelivery | None]) -> None:
        super().__init__(runtime.settings(), runtime.store(), create_celery(runtime.settings()))
        self._deliveries = deliveries

    def send_delivery(self, delivery: Redelivery) -> None:
        self._deliveries.put(delivery)


class _SlotWorker(SlotWorker):
    """Serves a slot whose jobs run in a thread."""

    def __init__(self, slot: str, owner: str) -> None:
        super().__init__(WORKER, slot, owner)
        self._lost_runs = SimpleNamespace(check=lambda job_id, attempt: None)  # type: ignore[assignment]

    def _check_worker(self) -> None:
        """Accept a worker without a pool."""


class InProcessStack(Stack):
    """Used like a :class:`~tests.support.harness.Stack`; only one can run at a time."""

    def __init__(self, folder: Path, models_file: Path, **environment: Any) -> None:
        defaults = {"SLOT_LEASE_S": 600, "HEARTBEAT_S": 0.2, "DRAIN_GRACE_S": 0}
        super().__init__(folder, models_file, **{**defaults, **environment})
        self._stopping = threading.Event()
        self._deliveries: queue.SimpleQueue[Redelivery | None] = queue.SimpleQueue()
        self._server: BaseWSGIServer | None = None
        self._slots: tuple[str, ...] = ()
        self._parts: list[Any] = []
        self._threads: list[threading.Thread] = []
        self._undo = contextlib.ExitStack()
        self._here = threading.local()

    def up(self, *workers: str) -> Stack:
        """Serve these slots, and the delivery with ``io``."""
        self._slots = tuple(name for name in workers if name != "io")
        self._undo.enter_context(_environment(self.environment))
        self.redis.start()
        dispatcher = _Dispatcher(self._deliveries)
        self._replace(runtime, "_dispatcher_of", lambda pid: dispatcher)
        self._replace(compute, "slot_process", lambda: self._here.process)
        for module in (run, endings, shared_run):
            self._replace(module, "slot_process", lambda: self._here.process)
        owner = owner_name(self.settings.node)
        self._parts = [_SlotWorker(slot, owner) for slot in self._slots]
        if "io" in workers:
            self._parts.append(DeliveryWorker())
            self._start(self._deliver)
        for part in self._parts:
            part.start()
        for slot in self._slots:
            self._start(self._compute, slot, owner)
        self._start(self._beat, Sweeper(WORKER))
        self._serve()
        return self

    def log(self, name: str) -> str:
        raise NotImplementedError("there are no processes with logs")

    def close(self) -> None:
        self._stopping.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        for part in self._parts:
            part.stop()
        stop_hint.set()
        for slot in self._slots:
            self.store.client.lpush(slot, "")
        self._deliveries.put(None)
        for thread in self._threads:
            thread.join(60)
        self._undo.close()
        self.store.client.close()
        self.redis.stop()
        if self.settings.spool_memory:
            shutil.rmtree(self.settings.spool_memory, ignore_errors=True)

    def _replace(self, module: Any, name: str, value: Any) -> None:
        self._undo.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, value)

    def _start(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        self._replace(factory, "configure", lambda level, form: None)  # pytest's log handlers stay
        app = factory.create_app(self.settings)
        self._undo.callback(of(app).hub.close)
        self._replace(of(app).dispatcher, "_revoke", lambda job_id: self._start(_stop_runs))
        self._server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_QuietHandler)
        self.port = self._server.server_port
        self._start(self._server.serve_forever, 0.05)

    # ---- threads

    def _compute(self, slot: str, owner: str) -> None:
        """Run the jobs that are sent to a slot."""
        self._here.process = SlotProcess(slot, owner)
        while not self._stopping.is_set():
            message = self.store.client.blpop([slot], timeout=1)
            if message and message[1]:
                (job_id, attempt), *_ = json.loads(json.loads(message[1])["body"])
                task.generate.run(job_id, attempt)

    def _deliver(self) -> None:
        while (delivery := self._deliveries.get()) is not None:
            with contextlib.suppress(Unavailable):
                deliver.run(delivery.job_id, delivery.attempt)

    def _beat(self, sweeper: Sweeper) -> None:
        while not self._stopping.wait(self.settings.leases.heartbeat_s):
            with contextlib.suppress(Unavailable):
                for part in (*self._parts, sweeper):
                    part.beat()


def _stop_runs() -> None:
    """Do what a revocation does: make running jobs check their records. The runs of several slots share the hint."""
    for _ in range(50):
        stop_hint.set()
        time.sleep(0.02)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set these variables; clear the caches of functions before and after."""
    before = dict(os.environ)
    os.environ.update(values)
    for cached in CACHES:
        cached.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        for cached in CACHES:
            cached.cache_clear()


@contextlib.contextmanager
def in_process(folder: Path, models_file: Path, *workers: str, **environment: Any) -> Iterator[Stack]:
    """Yield a Framemill in this process for one ``with`` block, with ``gpu0`` and ``io`` unless others are named."""
    stack = InProcessStack(folder, models_file, **environment)
    try:
        yield stack.up(*(workers or ("gpu0", "io")))
    finally:
        stack.close()
