"""Check the health of a back end from the parent process of its worker.

It has its own thread, so that a slow server does not delay the renewal of the slot's lease.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import closing, suppress

from jobs.errors import Unavailable
from jobs.models.backends import Backend
from tasks.runtime import settings
from workers.remote.base import BackendAway, RemoteExecutor
from workers.remote.connecting import connect, namespace_of

logger = logging.getLogger(__name__)


class BackendWatch:
    """Checks a back end once per heartbeat while its slot has no job.

    Args:
        backend: the back end.
        is_free: returns whether the slot has no job; a back end that computes a job of this slot is not checked.
        report: called in the thread after each check with the reason why the slot gets no job ('' if it may). Nothing
            else may clear the reason: a child that finds the back end away writes it, and it stays until the next
            check.
    """

    def __init__(self, backend: Backend, is_free: Callable[[], bool], report: Callable[[str], None]) -> None:
        self._backend, self._is_free, self._report = backend, is_free, report
        self._stopping = threading.Event()
        #: Why the back end gets no job now; '' if it is healthy.
        self.blocked = "has not been checked yet"
        self._thread = threading.Thread(target=self._run, name="back end", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        with closing(connect(self._backend, namespace_of(settings(), self._backend.name))) as executor:
            while not self._stopping.is_set():
                with suppress(Unavailable):
                    if self._is_free():
                        self._note(self._check(executor))
                self._stopping.wait(settings().leases.heartbeat_s)

    def _check(self, executor: RemoteExecutor) -> str:
        try:
            return executor.health() or ""
        except BackendAway as exc:
            return str(exc)
        except Exception as exc:  # a malformed response must not end the thread
            logger.exception("back end not understood", extra={"backend": self._backend.name})
            return f"is not understood: {type(exc).__name__}"

    def _note(self, why: str) -> None:
        if why != self.blocked:
            level, text = (logging.WARNING, "back end blocked") if why else (logging.INFO, "back end is healthy")
            logger.log(level, text, extra={"backend": self._backend.name, "why": why or "-"})
        self.blocked = why
        self._report(f"{self._backend.name} {why}" if why else "")
