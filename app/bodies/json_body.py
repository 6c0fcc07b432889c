"""Reads the JSON bodies of requests, piece by piece and within limits. Other requests are served meanwhile.

All routes read their bodies here or in :mod:`app.bodies.form_body`; a test forbids Flask's own ways.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from flask import Request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from jobs.errors import MalformedBody, Problem, TooLarge
from jobs.strict_json import PIECE_BYTES, JsonReader, Limits


class Digest(Protocol):
    """A hash of :mod:`hashlib`."""

    def update(self, data: bytes, /) -> None: ...


class BodyStream:
    """The body of a request as a file that can be read once.

    Args:
        request: the request.
        max_bytes: the longest body.
        digest: is updated with all that is read.

    Raises:
        TooLarge: the body is announced to be longer.
    """

    def __init__(self, request: Request, max_bytes: int, digest: Digest | None = None) -> None:
        self._max_bytes, self._digest = max_bytes, digest
        try:
            self._input = get_input_stream(request.environ, max_content_length=max_bytes)
        except RequestEntityTooLarge:
            raise self._too_large() from None

    def read(self, size_bytes: int = PIECE_BYTES) -> bytes:
        """Return the next part of the body, b"" at its end. Raises: TooLarge, MalformedBody."""
        # A client that sends faster than this process reads would otherwise keep the greenlet of every other request
        # from running: reading what has arrived already does not switch to them.
        time.sleep(0)
        try:
            data = self._input.read(min(size_bytes, PIECE_BYTES))
        except RequestEntityTooLarge:
            raise self._too_large() from None
        except HTTPException:  # the client has hung up, or sends too slowly
            raise
        except Exception as exc:  # servers have their own errors for chunks that are wrong or missing
            raise MalformedBody(Problem("body", "must be complete, and encoded as its headers say")) from exc
        if self._digest is not None:
            self._digest.update(data)
        return data

    def _too_large(self) -> TooLarge:
        return TooLarge(Problem("body", f"must not exceed {self._max_bytes} bytes"))


def json_of(request: Request, limits: Limits, *, digest: Digest | None = None, repair: bool = False) -> Any:
    """Return the JSON body of a request, whatever its media type; an empty object if there is no body.

    Args:
        request: the request.
        limits: how large the body may be.
        digest: is updated with the bytes of the body.
        repair: see :class:`jobs.strict_json.JsonReader`.

    Raises:
        TooLarge: it exceeds a limit in bytes.
        MalformedBody: it is not JSON, or has too many values.
        InvalidRequest: a value is no text or no number; names its field.
    """
    stream, reader = BodyStream(request, limits.total_bytes, digest), JsonReader(limits, repair=repair)
    while data := stream.read():
        reader.feed(data)
    return {} if reader.is_empty else reader.finish()
