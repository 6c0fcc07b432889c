"""Parameters that several operations have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.submit import MAX_IDEMPOTENCY_KEY_CHARS
from app.waiting import MAX_WAIT_S


def _header(name: str, text: str, **schema: Any) -> dict[str, Any]:
    return {"in": "header", "name": name, "description": text, "schema": {"type": "string", **schema}}


def query_parameter(name: str, text: str, schema: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return a parameter of the query: a text, if no schema says otherwise."""
    return {"in": "query", "name": name, "description": text, "schema": dict(schema or {"type": "string"}), **more}


WAIT: dict[str, Any] = {
    "in": "query",
    "name": "wait",
    "description": f"Seconds to wait for a change before the response is sent; at most {MAX_WAIT_S:g} count.",
    "schema": {"type": "number", "minimum": 0, "default": 0},
}
PREFER = _header("Prefer", "`wait=` seconds: the same as the parameter `wait`, which precedes it.")
ON_DISCONNECT = _header(
    "Prefer", "`cancel-on-disconnect`: the jobs stop when the connection is closed, instead of waiting for a repeat."
)
IDEMPOTENCY_KEY = _header(
    "Idempotency-Key",
    "Any text of yours. A repetition with the same text returns the job of the first request instead of a new one.",
    maxLength=MAX_IDEMPOTENCY_KEY_CHARS,
)
LAST_EVENT_ID = _header(
    "Last-Event-ID", "Id of the last event that the client has; the events after it are sent again.",
    pattern=r"^([0-9]{1,20}-[0-9]{1,20})?$",
)  # fmt: skip
IF_NONE_MATCH = _header("If-None-Match", "ETag of the client's copy: 304 if it is still the same.")
RANGE = _header("Range", "One range of bytes, as RFC 9110 defines it.")
IF_RANGE = _header("If-Range", "ETag of the client's copy: the range applies to this file only.")
