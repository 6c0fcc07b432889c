"""Values that many waiting requests need at the same moment, made once for all of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

#: A value is kept for this long, seconds: the waiting requests of one event ask within moments.
LIFETIME_S = 2.0
#: Values that are kept at most.
CAPACITY = 256

T = TypeVar("T")


class SharedValues:
    """Remembers values for :data:`LIFETIME_S`. Whoever asks while a value is being made waits for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, tuple[float, Future[Any]]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the value of a key; the first caller makes it. An exception of ``make`` is raised to all who wait."""
        with self._lock:
            made_at, future = self._made.get(key, (0.0, None))
            is_first = future is None or time.monotonic() - made_at > LIFETIME_S
            if is_first:
                future = Future()
                self._made[key] = time.monotonic(), future
                self._made.move_to_end(key)
                self._drop_old()
        assert future is not None
        if is_first:
            self._settle(key, future, make)
        value: T = future.result()
        return value

    def _drop_old(self) -> None:
        now = time.monotonic()
        while len(self._made) > CAPACITY or now - next(iter(self._made.values()))[0] > LIFETIME_S:
            self._made.popitem(last=False)

    def _settle(self, key: Hashable, future: Future[Any], make: Callable[[], Any]) -> None:
        try:
            future.set_result(make())
        except BaseException as exc:
            with self._lock:
                self._made.pop(key, None)  # whoever asks next tries again
            future.set_exception(exc)
