"""Ids of events: which job and which request a stream belongs to, so that any web process can go on with it."""

from __future__ import annotations

import base64
from dataclasses import astuple, dataclass
from typing import Any, Self

from app.fields import parsed
from app.protocols.mcp.wire.eras import HANDSHAKE, Call
from app.protocols.mcp.wire.messages import INVALID_PARAMS, Message, RequestId, RpcError
from jobs.errors import InvalidRequest
from jobs.strict_json import dumps

#: Longest id of an event, characters.
_MAX_CHARS = 2000


@dataclass(frozen=True)
class Place:
    """Where a stream can be resumed. A client may forge one: it gives no right to the job."""

    job_id: str
    request_id: RequestId
    progress_token: RequestId | None
    #: When the wait ends at the latest, seconds since 1970.
    until: float
    makes_job: bool

    @classmethod
    def of(cls, call: Call, job_id: str, until: float, makes_job: bool) -> Self:
        assert call.message.request_id is not None
        return cls(job_id, call.message.request_id, call.progress_token, round(until, 1), makes_job)

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the place that an event's id names. Raises: RpcError."""
        try:
            fields: Any = parsed(base64.urlsafe_b64decode(text[:_MAX_CHARS]).decode())
            job_id, request_id, token, until, makes_job = fields
            is_place = isinstance(job_id, str) and isinstance(request_id, str | int)
            is_place &= isinstance(token, str | int | None) and isinstance(until, int | float)
        except (ValueError, TypeError, InvalidRequest):
            is_place = False
        if not is_place:
            raise RpcError(INVALID_PARAMS, "Last-Event-ID must be an id of this server's events")
        return cls(job_id, request_id, token, float(until), bool(makes_job))

    def text(self) -> str:
        """Return it as the id of an event."""
        return base64.urlsafe_b64encode(dumps(astuple(self), separators=(",", ":")).encode()).decode()

    def call(self) -> Call:
        """Return the call that waits for the response."""
        meta = {} if self.progress_token is None else {"_meta": {"progressToken": self.progress_token}}
        return Call(Message("tools/call", meta, self.request_id), HANDSHAKE[-1])
