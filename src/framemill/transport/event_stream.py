"""Parse server-sent events, and decide when to reconnect after a connection is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx2

from framemill.errors import ApiError, ServerUnavailable
from framemill.records import Event, Job
from framemill.transport import wire

#: Following ends after the server has been unreachable for this long, in seconds. Long enough for a restart.
MAX_SILENCE_S = 30.0


def source(response: httpx2.Response) -> httpx2.EventSource:
    """Return the events of a response. Raises: ApiError: the response is not an event stream."""
    if response.headers.get("Content-Type", "").partition(";")[0].strip() != "text/event-stream":
        raise wire.bad_answer(response)
    return httpx2.EventSource(response)


def parse(message: httpx2.ServerSentEvent, response: httpx2.Response) -> Event:
    """Convert a message to an event. Raises: ApiError: the message is not an event of a job."""
    try:
        raw: Any = message.json()
        return Event(name=message.event, event_id=message.id, job=Job.from_dict(raw), raw=raw)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise wire.bad_answer(response) from None


class Resume:
    """Resumes a stream over lost connections: decides which event to continue after, and when to reconnect.

    Args:
        after: id of the last known event; ``""`` if there is none.
        clock: monotonic time in seconds.
    """

    def __init__(self, after: str, clock: Callable[[], float] = time.monotonic) -> None:
        #: Id of the last event received.
        self.after = after
        self._clock = clock
        self._failing_since: float | None = None
        self._waits = wire.retry_waits()
        self._empty = True

    def received(self, event: Event) -> None:
        """Record an event."""
        self.after, self._empty = event.event_id or self.after, False
        self._failing_since, self._waits = None, wire.retry_waits()

    def lost(self, error: ApiError | None = None) -> float:
        """Return the seconds to wait before reconnecting, after ``error`` or after the end of the stream.

        Raises:
            ApiError: ``error`` itself, if it is permanent or has lasted too long.
        """
        requested_s = 0.0
        if error is None:
            if self._empty:
                self.after = ""  # no event follows this one: request the current state instead
            self._failing_since, self._empty = None, True
        else:
            now = self._clock()
            self._failing_since = now if self._failing_since is None else self._failing_since
            temporary = isinstance(error, ServerUnavailable) or error.status == 429
            if not temporary or now - self._failing_since > MAX_SILENCE_S:
                raise error
            requested_s = min(error.retry_after_s or 0.0, MAX_SILENCE_S)
        return max(requested_s, self._waits.pop(0) if len(self._waits) > 1 else self._waits[0])
