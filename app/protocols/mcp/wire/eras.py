"""The two eras of the protocol: sessions that begin with ``initialize``, and requests that need none."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from flask import request

from app.protocols.mcp.wire.messages import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    MISSING_CAPABILITY,
    STATUS,
    UNSUPPORTED_VERSION,
    Message,
    RpcError,
)

#: The revision without sessions, and those with them; the last one is offered to clients of others.
STATELESS = "2026-07-28"
HANDSHAKE = ("2025-06-18", "2025-11-25")
SUPPORTED = (*HANDSHAKE, STATELESS)
#: Revisions that a header may name besides, because nothing differs in the requests that are served.
_OLDER = ("2024-11-05", "2025-03-26")
#: The first revision whose clients know events without data.
KNOWS_EMPTY_EVENTS = "2025-11-25"
#: This server, as clients show it.
SERVER = {"name": "framemill", "title": "Framemill", "version": version("framemill")}
TASKS = "io.modelcontextprotocol/tasks"
SESSION = "Mcp-Session-Id"

_VERSION_HEADER = "MCP-Protocol-Version"
_META = "io.modelcontextprotocol/"
_VERSION, _CAPABILITIES = f"{_META}protocolVersion", f"{_META}clientCapabilities"
#: Method → the parameter that the header ``Mcp-Name`` repeats.
_NAMED_BY = {
    "tools/call": "name", "prompts/get": "name", "resources/read": "uri",
    "tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId",
}  # fmt: skip
_SESSION_ID = re.compile(r"[0-9a-f]{32}")
_ENCODED = re.compile(r"=\?base64\?([A-Za-z0-9+/=]{0,4000})\?=")
#: Most characters of a progress token.
_MAX_TOKEN_CHARS = 200


class SessionGone(Exception):
    """No session has this id."""


@dataclass(frozen=True)
class Call:
    """A message, and what its era adds to it."""

    message: Message
    version: str
    #: '' for a request without a session.
    session: str = ""
    #: Capabilities that the client names with each stateless request.
    capabilities: dict[str, Any] = field(default_factory=dict)

    @property
    def is_stateless(self) -> bool:
        return self.version == STATELESS

    @property
    def has_tasks(self) -> bool:
        """Whether the client can look after a task."""
        extensions = self.capabilities.get("extensions")
        return isinstance(extensions, dict) and TASKS in extensions

    @property
    def progress_token(self) -> str | int | None:
        """What marks the notifications about its progress; None: the client wants none."""
        token = self.message.meta.get("progressToken")
        is_token = isinstance(token, str | int) and not isinstance(token, bool)
        return token if is_token and len(str(token)) <= _MAX_TOKEN_CHARS else None

    def result(self, result: dict[str, Any]) -> dict[str, Any]:
        """Return a result with what the era of the call adds to it."""
        if not self.is_stateless:
            return result
        return {"resultType": "complete", **result, "_meta": {f"{_META}serverInfo": SERVER}}

    def status(self, exc: RpcError) -> int:
        """Return the HTTP status of an error in the call."""
        return STATUS.get(exc.code, 200) if self.is_stateless else 200


def new_session() -> str:
    """Return the id of a new session. Nothing is stored."""
    return secrets.token_hex(16)


def call_of(message: Message) -> Call:
    """Return the call of the current request.

    Raises:
        RpcError: headers and body differ, or the version is not served.
        SessionGone.
    """
    header = request.headers.get(_VERSION_HEADER)
    if message.method == "initialize":
        return Call(message, HANDSHAKE[-1])
    if message.request_id is None and header == STATELESS:
        return Call(message, STATELESS)
    if header == STATELESS or _VERSION in message.meta or message.method == "server/discover":
        return _stateless(message, header)
    if header is not None and header not in (*HANDSHAKE, *_OLDER):
        raise _unsupported(header)
    session = request.headers.get(SESSION, "")
    if session and not _SESSION_ID.fullmatch(session):
        raise SessionGone
    return Call(message, header or HANDSHAKE[0], session)


def require_tasks(call: Call) -> None:
    """Raise RpcError unless the client has declared the extension for tasks."""
    if not call.has_tasks:
        data: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        raise RpcError(MISSING_CAPABILITY, f"the client has not declared the extension {TASKS}", data)


def _stateless(message: Message, version_header: str | None) -> Call:
    named, capabilities = message.meta.get(_VERSION), message.meta.get(_CAPABILITIES)
    if not isinstance(named, str) or not isinstance(capabilities, dict):
        raise RpcError(INVALID_PARAMS, f"params._meta must have {_VERSION} (text) and {_CAPABILITIES} (an object)")
    if version_header != named:
        raise RpcError(HEADER_MISMATCH, f"the header {_VERSION_HEADER} must be the protocol version of params._meta")
    if request.headers.get("Mcp-Method") != message.method:
        raise RpcError(HEADER_MISMATCH, "the header Mcp-Method must be the method of the body")
    named_by = _NAMED_BY.get(message.method)
    name = message.params.get(named_by) if named_by else None
    header = request.headers.get("Mcp-Name")
    if header is None and message.method.startswith("tasks/"):
        header = str(name)  # fastmcp sends none with these
    if isinstance(name, str) and _decoded(header or "") != name:
        raise RpcError(HEADER_MISMATCH, f"the header Mcp-Name must be params.{named_by}")
    if named != STATELESS:
        raise _unsupported(named)
    return Call(message, named, capabilities=capabilities)


def _decoded(header: str) -> str | None:
    """Return a header's value, which may be in base64; None if it is malformed."""
    encoded = _ENCODED.fullmatch(header)
    if not encoded:
        return header
    try:
        return base64.b64decode(encoded[1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def _unsupported(requested: str) -> RpcError:
    data = {"supported": list(SUPPORTED), "requested": requested[:80]}
    return RpcError(UNSUPPORTED_VERSION, "unsupported protocol version", data)
