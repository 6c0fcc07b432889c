"""Reads the JSON bodies of requests, piece by piece and within limits. Other requests are served meanwhile.

All routes read their bodies here or in :mod:`app.bodies.fields_body`; a test forbids Flask's own ways.
"""

from __future__ import annotations

import re
from typing import Any

from flask import Request

from app.bodies.body_stream import BodyStream, Digest
from app.bodies.charsets import UTF_8, codec_of, to_utf_8
from jobs.errors import MalformedBody, Problem
from jobs.strict_json import JsonReader, Limits

#: The beginning of a form.
_FORM = re.compile(rb"\s*(?:--[^\r\n]{1,70}\r?\n|[A-Za-z_][\w.\[\]%-]{0,80}=)", re.ASCII)


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
    return read_json(request, BodyStream(request, limits.total_bytes, digest), limits, repair=repair)


def read_json(request: Request, stream: BodyStream, limits: Limits, *, repair: bool = False) -> Any:
    """As :func:`json_of`, of a body of which only the beginning was looked at."""
    reader = JsonReader(limits, repair=repair)
    codec, head = codec_of(request.mimetype_params.get("charset")), stream.head()
    recode = None if codec == UTF_8 else to_utf_8(codec)
    try:
        while data := stream.read():
            reader.feed(recode(data, False) if recode else data)
        if recode:
            reader.feed(recode(b"", True))
        return {} if reader.is_empty else reader.finish()
    except MalformedBody as exc:
        if _FORM.match(head):
            raise MalformedBody(
                Problem("body", "must be JSON: it looks like a form, and its Content-Type does not say so")
            ) from exc
        raise
