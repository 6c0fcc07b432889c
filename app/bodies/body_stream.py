"""The body of a request as a file that is read once, piece by piece. Other requests are served meanwhile."""

from __future__ import annotations

from typing import Protocol

from flask import Request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.wsgi import get_input_stream

from jobs.errors import MalformedBody, Problem, TooLarge
from jobs.process.turns import take_turns
from jobs.strict_json import PIECE_BYTES

#: Reads of a body before others get a turn: all of a small one, and its end.
_READS_PER_TURN = 2
#: Encodings of bodies that need no decoding.
_PLAIN = ("", "identity")


class Digest(Protocol):
    """A hash of :mod:`hashlib`."""

    def update(self, data: bytes, /) -> None: ...


class BodyStream:
    """The body of a request.

    Args:
        request: the request.
        max_bytes: the longest body.
        digest: is updated with all that is read.

    Raises:
        TooLarge: the body is announced to be longer.
        MalformedBody: the body is compressed.
    """

    def __init__(self, request: Request, max_bytes: int, digest: Digest | None = None) -> None:
        self._max_bytes, self._digest = max_bytes, digest
        self._ahead, self._reads = b"", 0
        encoding = request.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in _PLAIN:
            raise MalformedBody(Problem("body", f"must not be compressed: Content-Encoding is {encoding[:20]}"))
        try:
            self._input = get_input_stream(request.environ, max_content_length=max_bytes)
        except RequestEntityTooLarge:
            raise self._too_large() from None

    def read(self, size_bytes: int = PIECE_BYTES) -> bytes:
        """Return the next part of the body, b"" at its end. Raises: TooLarge, MalformedBody."""
        if self._ahead:
            data, self._ahead = self._ahead, b""
            return data
        # A client that sends faster than this process reads would otherwise keep the greenlet of every other request
        # from running: reading what has arrived already does not switch to them.
        self._reads += 1
        if self._reads > _READS_PER_TURN:
            take_turns()
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

    def head(self) -> bytes:
        """Return the beginning of the body, which is read again afterwards. Raises: TooLarge, MalformedBody."""
        if not self._ahead:
            self._ahead = self.read()
        return self._ahead

    def _too_large(self) -> TooLarge:
        return TooLarge(Problem("body", f"must not exceed {self._max_bytes} bytes"))
