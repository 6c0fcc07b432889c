"""Requests of both eras of the Model Context Protocol."""

from __future__ import annotations

import json
from typing import Any

from werkzeug.test import TestResponse

from tests.support.service import Service

TASKS = {"extensions": {"io.modelcontextprotocol/tasks": {}}}
MP4 = b"\0\0\0\x18ftypmp42" + bytes(range(100))
STREAMS = {"Accept": "application/json, text/event-stream"}


def post(
    service: Service, method: str, params: dict[str, Any] | None = None, headers: dict[str, str] | None = None,
    number: Any = 1,
) -> TestResponse:  # fmt: skip
    """Send a request of the older revisions."""
    body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
    return service.post("/mcp", json=body, headers=headers)


def result(response: TestResponse) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body = response.get_json()
    assert "error" not in body, body
    return dict(body["result"])


def call(service: Service, tool: str, headers: dict[str, str] | None = None, number: Any = 1, **arguments: Any) -> Any:
    """Call a tool that does not wait; return its result."""
    if tool.startswith(("generate", "edit", "get")):
        arguments = {"wait_s": 0, **arguments}
    return result(post(service, "tools/call", {"name": tool, "arguments": arguments}, headers, number))


def stateless(
    service: Service, method: str, params: dict[str, Any] | None = None, headers: dict[str, str] | None = None,
    capabilities: dict[str, Any] | None = None, **changed: str,
) -> TestResponse:  # fmt: skip
    """Send a request of the newest revision; ``changed`` replaces headers (``_`` for ``-``)."""
    params = params or {}
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": capabilities or {},
    }
    sent = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
    if name := params.get("name") or params.get("taskId"):
        sent["Mcp-Name"] = name
    sent |= {name.replace("_", "-"): value for name, value in changed.items()}
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta, **params}}
    return service.post("/mcp", json=body, headers={**sent, **(headers or {})})


def events(text: str) -> list[dict[str, Any]]:
    """Return the messages of an event stream."""
    data = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(one) for one in data]


def notify(service: Service, session: str, number: Any, headers: dict[str, str] | None = None) -> None:
    body = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}
    response = service.post("/mcp", json=body, headers={"Mcp-Session-Id": session, **(headers or {})})
    assert (response.status_code, response.data) == (202, b"")


def session_of(service: Service, headers: dict[str, str] | None = None) -> str:
    return str(post(service, "initialize", {"protocolVersion": "2025-11-25"}, headers).headers["Mcp-Session-Id"])


def task(service: Service, headers: dict[str, str] | None = None) -> dict[str, Any]:
    params = {"name": "generate_image", "arguments": {"prompt": "x"}}
    return result(stateless(service, "tools/call", params, headers, TASKS))
