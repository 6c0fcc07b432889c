"""One look at a back end in a thread of its own, so that a slow answer delays neither the result nor a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

from workers.remote.base import RemoteProgress


class Look:
    """A call that is under way from the start. If nobody asks for its outcome, it is dropped."""

    def __init__(self, call: Callable[[], RemoteProgress]) -> None:
        self._outcome: Future[RemoteProgress] = Future()
        threading.Thread(target=self._run, args=(call,), name="look", daemon=True).start()

    @property
    def is_over(self) -> bool:
        return self._outcome.done()

    def progress(self) -> RemoteProgress:
        """Return what the call returned, or raise what it raised. Only once it is over."""
        return self._outcome.result(timeout=0)

    def _run(self, call: Callable[[], RemoteProgress]) -> None:
        try:
            self._outcome.set_result(call())
        except BaseException as exc:  # raised where the outcome is asked for
            self._outcome.set_exception(exc)
