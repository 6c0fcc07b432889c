"""Reads the body of a request: a JSON object, or the bytes of a picture."""

from __future__ import annotations

import io
from typing import Any

from flask import request

from app.bodies.body_stream import BodyStream, Digest
from app.bodies.json_body import read_json
from app.extensions import settings
from jobs.errors import MalformedBody, Problem, TooLarge

#: What may precede a JSON object: blanks, and the mark of UTF-8.
_BEFORE = b"\xef\xbb\xbf \t\r\n"


def read_body(digest: Digest) -> dict[str, Any] | bytes:
    """Return the body of the current request; its beginning tells what it is, as clients send pictures without a type.

    Args:
        digest: is updated with the bytes of the body.

    Raises:
        TooLarge: it exceeds a limit in bytes.
        MalformedBody, InvalidRequest: it cannot be read.
    """
    limits = settings().web.body_limits
    stream = BodyStream(request, limits.total_bytes, digest)
    head = stream.head().lstrip(_BEFORE)
    if head[:1] == b"{" or request.is_json or not head:
        body = read_json(request, stream, limits)
        if not isinstance(body, dict):
            raise MalformedBody(Problem("body", "must be a JSON object, or the bytes of an image"))
        return body
    return _picture(stream, settings().inputs.max_bytes)


def _picture(stream: BodyStream, max_bytes: int) -> bytes:
    content = io.BytesIO()
    while data := stream.read():
        content.write(data)
        if content.tell() > max_bytes:
            raise TooLarge(Problem("body", f"must not exceed {max_bytes} bytes as an image"))
    return content.getvalue()
