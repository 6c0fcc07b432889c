"""Work on pictures and sound in a web process: beside its event loop, and within one budget of memory and threads.

A small file can hold a large picture, and many requests can send one at the same time. Each piece of work says before
it begins how much memory it will need, and waits for its turn. What needs more than the whole budget runs alone.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from jobs.errors import DecodingBusy
from jobs.process.turns import runs_on_gevent
from jobs.settings import Settings

#: Most pieces of work that wait for the budget; further ones are refused at once.
MAX_WAITING = 256
#: Bytes that base64 works on while it keeps the interpreter to itself; a multiple of 3 and of 4.
_BASE64_STEP_BYTES = 3 * 4 * 64 * 1024
_T = TypeVar("_T")


@dataclass(eq=False)
class _Turn:
    need_bytes: int
    has_come: threading.Event = field(default_factory=threading.Event)


class DecodingBudget:
    """Memory and threads for decoding in one process, given in the order of the calls.

    Args:
        max_bytes: memory of all work at once.
        threads: number of pieces of work at once.
        wait_s: longest wait for a turn, seconds.
    """

    def __init__(self, max_bytes: int, threads: int, wait_s: float) -> None:
        self._max_bytes, self._wait_s = max_bytes, wait_s
        self._free_bytes, self._free_threads = max_bytes, threads
        self._waiting: deque[_Turn] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def reserved(self, need_bytes: int) -> Iterator[None]:
        """Reserve memory and a thread inside the block. Raises: DecodingBusy: the turn did not come in time."""
        turn = _Turn(min(need_bytes, self._max_bytes))
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                raise DecodingBusy()
            self._waiting.append(turn)
            self._give_turns()
        try:
            if not turn.has_come.wait(self._wait_s):
                raise DecodingBusy()
            yield
        finally:
            with self._lock:
                if turn.has_come.is_set():
                    self._free_bytes += turn.need_bytes
                    self._free_threads += 1
                else:
                    self._waiting.remove(turn)
                self._give_turns()

    def _give_turns(self) -> None:
        while self._waiting and self._free_threads and self._waiting[0].need_bytes <= self._free_bytes:
            turn = self._waiting.popleft()
            self._free_bytes -= turn.need_bytes
            self._free_threads -= 1
            turn.has_come.set()


def one_long_request(settings: Settings) -> AbstractContextManager[None]:
    """Let one request at a time have many pictures worked on, so that the pictures of all others get their turns.

    Raises: DecodingBusy: the turn did not come within ``DECODE_WAIT_S``.
    """
    return _long_requests(settings.inputs.decode_wait_s).reserved(0)


@lru_cache(maxsize=8)
def _long_requests(wait_s: float) -> DecodingBudget:
    return DecodingBudget(max_bytes=0, threads=1, wait_s=wait_s)


@lru_cache(maxsize=8)
def _budget(max_bytes: int, threads: int, wait_s: float) -> DecodingBudget:
    return DecodingBudget(max_bytes, threads, wait_s)


def decode(need_bytes: int, work: Callable[[], _T], settings: Settings) -> _T:
    """Run ``work`` beside the event loop when the process's budget allows it.

    Args:
        need_bytes: memory that the work needs at most, including its result.
        work: must not call this function itself, or it would wait for its own end.
        settings: the budget.

    Raises:
        DecodingBusy: it was not allowed within ``DECODE_WAIT_S``.
    """
    options = settings.inputs
    with _budget(options.decode_bytes, options.decode_threads, options.decode_wait_s).reserved(need_bytes):
        return off_the_hub(work)


def off_the_hub(work: Callable[[], _T]) -> _T:
    """Run ``work`` in a real thread if gevent runs the server, else directly.

    Decoding takes up to a second, during which a greenlet would block every other request; Pillow releases the GIL.
    """
    if not runs_on_gevent():
        return work()
    from gevent import get_hub

    # A Future transports the exception: gevent prints the traceback of an exception that leaves its thread.
    result: Future[_T] = Future()
    get_hub().threadpool.apply(_settle, (result, work))
    return result.result(0)


def _settle(result: Future[_T], work: Callable[[], _T]) -> None:
    try:
        result.set_result(work())
    except Exception as exc:  # raised again by the caller of result()
        result.set_exception(exc)


def to_base64(data: bytes) -> str:
    """Encode in steps: base64 keeps the interpreter to itself, whatever thread it runs in."""
    return off_the_hub(lambda: "".join(base64_steps(data)))


def base64_steps(data: bytes) -> Iterator[str]:
    """Yield the base64 of ``data`` in parts."""
    for start in range(0, len(data), _BASE64_STEP_BYTES):
        yield base64.b64encode(memoryview(data)[start : start + _BASE64_STEP_BYTES]).decode()


def from_base64(digits: str) -> bytes:
    """Decode base64 of RFC 4648 in steps, with padding. Raises: ValueError."""

    def decoded() -> bytes:
        parts = []
        for start in range(0, len(digits), _BASE64_STEP_BYTES):
            step = digits[start : start + _BASE64_STEP_BYTES]
            if step.endswith("=") and start + _BASE64_STEP_BYTES < len(digits):
                raise binascii.Error("padding within the data")
            parts.append(base64.b64decode(step, validate=True))
        return b"".join(parts)

    return off_the_hub(decoded)
