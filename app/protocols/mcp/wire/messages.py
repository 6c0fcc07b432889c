"""JSON-RPC 2.0: the message of a body, results and errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR = -32603
#: Codes of the specification: headers and body differ, a capability is missing, a version is not served.
HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION = -32020, -32021, -32022
#: Code of this server for errors of HTTP: keys, origins, methods, outages. ``data`` has the code of the native API.
REFUSED = -32000
#: HTTP status of an error, by its code. Clients of the older revisions take 404 for the end of their session.
STATUS = {
    PARSE_ERROR: 400, INVALID_REQUEST: 400, INVALID_PARAMS: 400, HEADER_MISMATCH: 400, MISSING_CAPABILITY: 400,
    UNSUPPORTED_VERSION: 400, METHOD_NOT_FOUND: 404,
}  # fmt: skip
#: Longest id of a request and longest name of a method, characters.
MAX_ID_CHARS = 200

RequestId = str | int


class RpcError(Exception):
    """A mistake in the protocol, which is answered by a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data


@dataclass(frozen=True)
class Message:
    """A request, a notification, or a client's response."""

    #: Method of a request or notification; '' for a response.
    method: str = ""
    params: dict[str, Any] = field(default_factory=dict)
    #: Id of a request; None for notifications and responses.
    request_id: RequestId | None = None

    @property
    def meta(self) -> dict[str, Any]:
        """What the client sent beside the arguments."""
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}

    def text(self, name: str) -> str:
        """Return a text of the parameters. Raises: RpcError."""
        value = self.params.get(name)
        if not isinstance(value, str):
            raise RpcError(INVALID_PARAMS, f"params.{name} must be text")
        return value


def message_of(body: Any) -> Message:
    """Return the message of a body. Raises: RpcError."""
    if not isinstance(body, dict) or body.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, "the body must be one JSON-RPC 2.0 message; batches are not supported")
    if "method" not in body and ("result" in body or "error" in body):
        return Message()
    method, params = body.get("method"), body.get("params")
    if not isinstance(method, str) or not 0 < len(method) <= MAX_ID_CHARS:
        raise RpcError(INVALID_REQUEST, "method must be text")
    if not isinstance(params, dict | None):
        raise RpcError(INVALID_REQUEST, "params must be an object")
    if "id" not in body:
        return Message(method, params or {})
    return Message(method, params or {}, _request_id(body["id"]))


def _request_id(value: Any) -> RequestId:
    is_id = isinstance(value, str | int) and not isinstance(value, bool)
    if not is_id or len(str(value)) > MAX_ID_CHARS:
        raise RpcError(INVALID_REQUEST, f"id must be a whole number, or text of at most {MAX_ID_CHARS} characters")
    checked: RequestId = value
    return checked


def result_message(request_id: RequestId | None, result: dict[str, Any]) -> dict[str, Any]:
    """Return the response to a request."""
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_message(request_id: RequestId | None, exc: RpcError) -> dict[str, Any]:
    """Return the response to a request that was refused; None: its id is unknown."""
    error: dict[str, Any] = {"code": exc.code, "message": exc.message}
    if exc.data is not None:
        error["data"] = exc.data
    return {"jsonrpc": "2.0", "id": request_id, "error": error}


def notification(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}
