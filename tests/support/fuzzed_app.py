"""A served app for fuzzing: all protocols, workers for their jobs, and no request that waits long.

Only times differ from a real server: waits end soon, and a client reads only the beginning of an endless stream.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app import waiting
from app.protocols.a1111 import progress
from app.protocols.aime.workers import routes as worker_routes
from jobs.callers import Caller, Role
from jobs.store import keys, queries
from jobs.store.credentials.api_keys import KeyRing
from tests.support.aime_endpoint import LOCAL_ENDPOINT, draw, write_endpoint
from tests.support.aime_peers import Worker
from tests.support.served_app import ServedApp

#: A model of each kind of output, small enough that no request computes long.
MODELS = """
[tiny-image]
kinds = ["text2img", "img2img", "inpaint", "mix2img"]
executor = "drawing"
schedulers = ["Euler", "DPM++ 2M Karras"]
defaults = { steps = 2, width = 16, height = 16 }
limits = { steps = [1, 8], width = [16, 64], height = [16, 64] }

[tiny-video]
kinds = ["text2video", "img2video"]
executor = "drawing"
defaults = { steps = 2, width = 16, height = 16, frames = 3, fps = 8 }
limits = { steps = [1, 8], width = [16, 32], height = [16, 32], frames = [1, 5] }
clamp = true
"""
#: Messages of a stream that a client reads.
MESSAGES = 2
#: Longest wait of any request, seconds.
WAIT_S = 0.05


class Errors(logging.Handler):
    """The log records that report a fault of the server: errors, and whatever has a traceback."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or (record.exc_info and record.exc_info[0]):
            self.found.append(self.format(record))

    def take(self) -> list[str]:
        """Return what was logged since the last call."""
        found, self.found = self.found, []
        return found


class FuzzedApp(ServedApp):
    """An app that serves every protocol.

    Args:
        with_keys: whether it has keys; :attr:`admin` is then the secret of an admin key.
    """

    def __init__(self, *, with_keys: bool, **environment: Any) -> None:
        self._endpoints = Path(tempfile.mkdtemp(prefix="fm-"))
        write_endpoint(self._endpoints, timeout_s="1", endpoint="max_time_in_queue = 5")
        (self._endpoints / "tiny").mkdir()
        (self._endpoints / "tiny" / "aime_api_endpoint.cfg").write_text(LOCAL_ENDPOINT)
        super().__init__(
            MODELS, ENDPOINTS_DIR=self._endpoints, MAX_WAITING=1_000_000, HEARTBEAT_S=0.5, **environment
        )  # fmt: skip
        self.admin = KeyRing(self.store).create(Caller(key_id="ops", role=Role.ADMIN)) if with_keys else ""
        self.store.client.zadd(keys.NODES, {"host": 2e9})
        self.worker("tiny-image", "tiny-video")
        self._peer = Worker(self.url(""), compute=draw).start()
        self._stopping = threading.Event()
        threading.Thread(target=self._resume, daemon=True).start()

    def close(self) -> None:
        self._stopping.set()
        self._peer.join()
        super().close()
        shutil.rmtree(self._endpoints, ignore_errors=True)

    def _resume(self) -> None:
        """End the pauses that fuzzed requests begin, because other requests wait for their jobs."""
        while not self._stopping.wait(0.05):
            for slot in self.store.client.smembers(keys.PAUSED):
                self.store.pause_slots(str(slot), resume=True)

    def _respond(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        types: list[str] = []

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            types.extend(value for name, value in headers if name.lower() == "content-type")
            return start_response(status, headers, *more)

        body = super()._respond(environ, start)
        return _beginning(body) if types and types[0].startswith("text/event-stream") else body


def _beginning(stream: Any) -> Iterator[bytes]:
    """Yield the first messages of a stream, and close it."""
    try:
        for number, chunk in enumerate(stream, 1):
            yield chunk
            if number == MESSAGES or b": listening" in chunk:
                return
    finally:
        stream.close()


@contextmanager
def fuzzed_app(*, with_keys: bool, **environment: Any) -> Iterator[tuple[FuzzedApp, Errors]]:
    """An app for fuzzing, and the errors that it logs."""
    errors = Errors()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.factory.configure", lambda level, form: None)
        patch.setattr(waiting, "MAX_WAIT_S", WAIT_S)
        patch.setattr(progress, "PREVIEW_WAIT_S", WAIT_S)
        patch.setattr(worker_routes, "ERROR_DELAY_S", 0.0)
        patch.setattr(worker_routes, "UNKNOWN_TYPE_DELAY_S", 0.0)
        patch.setattr(worker_routes, "STORE_RETRY_S", 0.0)
        app = FuzzedApp(with_keys=with_keys, **environment)
        logging.getLogger().addHandler(errors)
        try:
            yield app, errors
        finally:
            logging.getLogger().removeHandler(errors)
            app.close()


def settle(app: FuzzedApp, seconds: float = 10.0) -> None:
    """Wait until no job is waiting or running."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        counts = queries.fleet(app.store).counts
        if not counts["queued"] + counts["running"] + counts["delivering"]:
            return
        time.sleep(0.02)
