"""Server-sent events: the record, and when to come back after a lost connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from framemill import wire
from framemill.errors import ApiError, ServerUnavailable
from framemill.records import Status

#: A server that does not answer for this long ends the following, seconds. Long enough for a restart.
MAX_SILENCE_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of one job."""

    #: ``status``: the whole present state, sent first; ``state``; ``progress``: a step;
    #: ``preview``: a new picture; ``end``: the last one.
    name: str
    #: Place in the server's stream: what comes after it can be asked for later.
    event_id: str
    #: The job now. ``state`` and ``progress`` know its state, step, slot, stage and time left, the others everything.
    status: Status
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


def source(response: httpx2.Response) -> httpx2.EventSource:
    """The events of an answer. Raises: ApiError: it is no stream of events."""
    if response.headers.get("Content-Type", "").partition(";")[0].strip() != "text/event-stream":
        raise wire.bad_answer(response)
    return httpx2.EventSource(response)


def parse(message: httpx2.ServerSentEvent, response: httpx2.Response) -> Event:
    """Raises: ApiError: it is no event of a job."""
    try:
        raw: Any = message.json()
        return Event(name=message.event, event_id=message.id, status=Status.from_dict(raw), raw=raw)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wire.bad_answer(response) from None


class Resume:
    """Keeps a stream going over lost connections: what to ask for next, and when.

    Args:
        after: id of the last event that is known; ``""``: none.
        clock: seconds that only grow.
    """

    def __init__(self, after: str, clock: Callable[[], float] = time.monotonic) -> None:
        #: Id of the last event that arrived.
        self.after = after
        self._clock = clock
        self._failing_since: float | None = None
        self._waits = wire.retry_waits()
        self._empty = True

    def heard(self, event: Event) -> None:
        """An event arrived."""
        self.after, self._empty = event.event_id or self.after, False
        self._failing_since, self._waits = None, wire.retry_waits()

    def lost(self, error: ApiError | None = None) -> float:
        """Seconds to wait before the next connection, after ``error`` or after the end of the stream.

        Raises:
            ApiError: ``error`` itself, when it will not pass or has lasted too long.
        """
        asked_s = 0.0
        if error is None:
            if self._empty:
                self.after = ""  # nothing comes after it: ask for the present state
            self._failing_since, self._empty = None, True
        else:
            now = self._clock()
            self._failing_since = now if self._failing_since is None else self._failing_since
            passing = isinstance(error, ServerUnavailable) or error.status == 429
            if not passing or now - self._failing_since > MAX_SILENCE_S:
                raise error
            asked_s = min(error.retry_after_s or 0.0, MAX_SILENCE_S)
        return max(asked_s, self._waits.pop(0) if len(self._waits) > 1 else self._waits[0])
