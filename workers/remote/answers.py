"""What a back end's answer says: the text of a refusal, and what kind of file it sent."""

from __future__ import annotations

import json
from typing import Any

#: How much of a refusal is kept, characters.
MAX_ERROR_CHARS = 500
#: Media type → ending, of the files that a back end may send.
ENDINGS = {"video/mp4": "mp4", "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def json_of(content: bytes) -> Any:
    """The JSON of an answer; None where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def reason(body: Any) -> str:
    """What an error answer says, as short text; '' if it says nothing.

    Understood are a bare text, ``{"detail": text or [{"loc", "msg"}]}``, and AUTOMATIC1111's
    ``{"error": class, "detail", "errors"}``.
    """
    if isinstance(body, str):
        return body[:MAX_ERROR_CHARS]
    if not isinstance(body, dict):
        return ""
    parts = [_plain(body.get(name)) for name in ("error", "detail", "errors")]
    if parts[0] == "HTTPException":  # only says that the rest was meant
        del parts[0]
    return ": ".join(dict.fromkeys(filter(None, parts)))[:MAX_ERROR_CHARS]


def media_type_of(head: bytes) -> str:
    """The media type of a file that begins so; '' if it is none of :data:`ENDINGS`."""
    if head[4:8] == b"ftyp":
        return "video/mp4"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return ""


def _plain(said: Any) -> str:
    if isinstance(said, str):
        return said.strip()
    if isinstance(said, list):
        return "; ".join(filter(None, map(_rule, said)))
    return json.dumps(said) if said else ""


def _rule(problem: Any) -> str:
    """One problem of a field: its path in the body, and what is wrong."""
    if not isinstance(problem, dict):
        return str(problem)
    path = ".".join(str(part) for part in problem.get("loc", ()) if part != "body")
    return f"{path}: {problem.get('msg', '')}".strip(": ")
