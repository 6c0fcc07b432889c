"""Reads the fields of requests, which are a JSON object or a form."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from flask import Request

from app.bodies.body_stream import BodyStream, Digest
from app.bodies.form_body import is_form, read_form
from app.bodies.json_body import read_json
from jobs.errors import MalformedBody, Problem
from jobs.strict_json import Limits

#: What may precede a JSON object: blanks, and the mark of UTF-8.
_BEFORE = b"\xef\xbb\xbf \t\r\n"


def read_fields(
    request: Request, limits: Limits, digest: Digest | None = None, repeated: Collection[str] = ()
) -> tuple[dict[str, Any], bool]:  # fmt: skip
    """Return the fields of a body, and whether it is a form.

    A body that begins like a JSON object is read as one, whatever its header says: curl calls all bodies forms.

    Args:
        request: the request.
        limits: how large the body may be.
        digest: is updated with the bytes of the body.
        repeated: names of which all fields of a form count, as lists.

    Raises:
        TooLarge: it exceeds a limit in bytes.
        MalformedBody: it is neither a JSON object nor a form.
        InvalidRequest: a value is not valid; names its field.
    """
    stream = BodyStream(request, limits.total_bytes, digest)
    if is_form(request) and not stream.head().lstrip(_BEFORE).startswith(b"{"):
        return read_form(request, stream, limits, repeated), True
    body = read_json(request, stream, limits)
    if not isinstance(body, dict):
        raise MalformedBody(Problem("body", "must be a JSON object"))
    return body, False
