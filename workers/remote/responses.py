"""Read the responses of back ends: error texts, JSON, and the type of a file."""

from __future__ import annotations

import json
from typing import Any

from jobs import strict_json
from jobs.errors import InvalidRequest
from jobs.strict_json import Limits

#: Limits of what back ends send; callers have lower limits in bytes.
LIMITS = Limits(total_bytes=512 * 1024 * 1024, text_bytes=16 * 1024 * 1024, values=200_000)
#: Longest error text that is kept, characters.
MAX_ERROR_CHARS = 500
#: Media type → file extension, of the files that a back end may send.
ENDINGS = {"video/mp4": "mp4", "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def json_of(content: bytes) -> Any:
    """Return the parsed JSON; None if it does not parse. Numbers that are not finite are null, as in JavaScript."""
    try:
        return strict_json.loads(content, LIMITS, repair=True)
    except InvalidRequest:
        return None


def error_text(body: Any) -> str:
    """Return the short text of an error response; '' if it has none.

    Understands a bare text, ``{"detail": text or [{"loc", "msg"}]}``, AUTOMATIC1111's
    ``{"error": class, "detail", "errors"}``, and OpenAI's ``{"error": {"message", "param"}}``.
    """
    if isinstance(body, str):
        return body[:MAX_ERROR_CHARS]
    if not isinstance(body, dict):
        return ""
    parts = [_text_of(body.get(name)) for name in ("error", "detail", "errors")]
    if parts[0] == "HTTPException":  # carries no information; the other fields do
        del parts[0]
    return ": ".join(dict.fromkeys(filter(None, parts)))[:MAX_ERROR_CHARS]


def media_type_of(head: bytes) -> str:
    """Return the media type of a file from its first 12 bytes; '' if it is not one of :data:`ENDINGS`."""
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return ""


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return "; ".join(filter(None, map(_field_error, value)))
    if isinstance(value, dict) and isinstance(value.get("message"), str):
        text, field = value["message"].strip(), value.get("param")
        return f"{field}: {text}" if isinstance(field, str) and field not in text else text
    return json.dumps(value) if value else ""


def _field_error(problem: Any) -> str:
    """Return the path of a refused field in the body, and the rule that it broke."""
    if not isinstance(problem, dict):
        return str(problem)
    path = ".".join(str(part) for part in problem.get("loc", ()) if part != "body")
    return f"{path}: {problem.get('msg', '')}".strip(": ")
