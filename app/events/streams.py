"""Parts that the event streams of all protocols share: the response, and what they do while Redis does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from flask import Response

from jobs.errors import Unavailable

#: Interval of comments on a silent stream, seconds. They keep proxies from closing it, and detect closed clients.
KEEPALIVE_S = 15.0
#: Pause before a stream asks Redis again, seconds.
RETRY_S = 1.0

T = TypeVar("T")


def event_stream(messages: Iterator[str] | Iterator[bytes]) -> Response:
    """Return a response of server-sent events."""
    response = Response(messages, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would buffer the events
    return response


def patiently(ask: Callable[[], T]) -> Generator[str, None, T]:
    """Return what ``ask`` returns, and yield comments while Redis does not answer.

    A stream that has begun can report no error, and browsers do not reconnect to a server that answers 503.
    """
    while True:
        try:
            return ask()
        except Unavailable:
            yield ": the job store does not answer\n\n"
            time.sleep(RETRY_S)
