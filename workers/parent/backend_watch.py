"""Looks after a back end from the parent process of its worker: is it there, and free?

A thread of its own, so that a server that answers slowly does not delay the lease of the slot.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from jobs.errors import Unavailable
from jobs.models.backends import Backend
from tasks.runtime import settings
from workers import remote

logger = logging.getLogger(__name__)


class BackendWatch:
    """Asks a back end how it is, once per heartbeat while its slot has no job.

    Args:
        backend: which.
        is_free: whether the slot has no job now; a back end that works for us is left alone.
        report: writes down why the slot gets no job ('': it may); called in the thread after each look. Nobody else
            may clear that: a child that found the back end away notes it, and it stands until the next look.
    """

    def __init__(self, backend: Backend, is_free: Callable[[], bool], report: Callable[[str], None]) -> None:
        self._backend, self._is_free, self._report = backend, is_free, report
        self._stopping = threading.Event()
        #: Why it gets no job now; '' when it is well.
        self.blocked = "was not asked yet"
        self._thread = threading.Thread(target=self._run, name="back end", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        executor = remote.connect(self._backend, remote.namespace_of(settings(), self._backend.name))
        while not self._stopping.is_set():
            with suppress(Unavailable):
                if self._is_free():
                    self._note(self._look(executor, remote))
            self._stopping.wait(settings().leases.heartbeat_s)

    def _look(self, executor: Any, remote: Any) -> str:
        try:
            return str(executor.health() or "")
        except remote.BackendAway as exc:
            return str(exc)
        except Exception as exc:  # a server that answers nonsense must not end the watch
            logger.exception("back end not understood", extra={"backend": self._backend.name})
            return f"is not understood: {type(exc).__name__}"

    def _note(self, why: str) -> None:
        if why != self.blocked:
            logger.log(
                logging.WARNING if why else logging.INFO, "back end blocked" if why else "back end is well",
                extra={"backend": self._backend.name, "why": why or "-"},
            )  # fmt: skip
        self.blocked = why
        self._report(f"{self._backend.name} {why}" if why else "")
