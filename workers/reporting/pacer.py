"""A thread that calls a function at intervals, and is kept for the next function: starting one takes longer than a
short run."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import ClassVar

logger = logging.getLogger(__name__)


class Pacer:
    """Calls one function at a time. :meth:`begin` and :meth:`end` do not wake the thread if they need not."""

    #: Those that have nothing to call.
    _spare: ClassVar[list[Pacer]] = []

    def __init__(self) -> None:
        #: Held while the function is called.
        self._lock = threading.Lock()
        self._call: Callable[[], float] | None = None
        self._due_at = self._wakes_at = math.inf
        self._is_due_earlier = threading.Event()
        threading.Thread(target=self._run, name="reporter", daemon=True).start()

    @classmethod
    def begin(cls, call: Callable[[], float], delay_s: float) -> Pacer:
        """Call a function after ``delay_s`` seconds, and again after as many seconds as it returns each time."""
        try:
            pacer = cls._spare.pop()
        except IndexError:
            pacer = cls()
        with pacer._lock:
            pacer._call, pacer._due_at = call, time.monotonic() + delay_s
            if pacer._due_at < pacer._wakes_at:
                pacer._is_due_earlier.set()
        return pacer

    def end(self) -> None:
        """Call the function no more. Waits for the present call."""
        self._call = None  # the thread may get the lock again before this one does
        with self._lock:
            self._due_at = math.inf
        self._spare.append(self)

    def _run(self) -> None:
        while True:
            with self._lock:
                if (call := self._call) and time.monotonic() >= self._due_at:
                    self._due_at = time.monotonic() + self._returned(call)
                self._wakes_at = self._due_at
            wait_s = self._wakes_at - time.monotonic()
            self._is_due_earlier.wait(None if wait_s == math.inf else max(0.0, wait_s))
            self._is_due_earlier.clear()

    def _returned(self, call: Callable[[], float]) -> float:
        try:
            return call()
        except Exception:
            logger.exception("a run goes on without reports")
            return math.inf
