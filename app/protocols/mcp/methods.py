"""The methods of the protocol, and what they return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.protocols.mcp import tasks, tools
from app.protocols.mcp.wire.eras import HANDSHAKE, SERVER, SUPPORTED, TASKS, Call

_CAPABILITIES: dict[str, Any] = {"tools": {"listChanged": False}}
_INSTRUCTIONS = (
    "Generates images and videos on GPUs that others use, too. A tool that generates waits up to 45 s; if the result "
    "takes longer, it returns the job with its place in the queue and the seconds left. Call get_job with its job_id "
    "until it has outputs, rather than generating again. Show users the image, and give them the link to the whole "
    "file. Names and limits of models are in list_models."
)
#: How long clients may keep descriptions, milliseconds. They depend on the caller's key.
_KEPT = {"ttlMs": 60_000, "cacheScope": "private"}


def initialize(call: Call) -> dict[str, Any]:
    """Begin a session."""
    requested = call.message.params.get("protocolVersion")
    return {
        "protocolVersion": requested if requested in HANDSHAKE else HANDSHAKE[-1],
        "capabilities": _CAPABILITIES,
        "serverInfo": SERVER,
        "instructions": _INSTRUCTIONS,
    }


def discover(call: Call) -> dict[str, Any]:
    """Describe the server."""
    return {
        "supportedVersions": list(SUPPORTED),
        "capabilities": {**_CAPABILITIES, "extensions": {TASKS: {}}},
        "instructions": _INSTRUCTIONS,
        **_KEPT,
    }


def list_tools(call: Call) -> dict[str, Any]:
    """List the tools."""
    return {"tools": tools.offered(), **(_KEPT if call.is_stateless else {})}


def ping(call: Call) -> dict[str, Any]:
    """Respond."""
    return {}


_METHODS: dict[bool, dict[str, Callable[[Call], dict[str, Any]]]] = {
    False: {"initialize": initialize, "ping": ping, "tools/list": list_tools},
    True: {
        "server/discover": discover,
        "tools/list": list_tools,
        "tasks/get": tasks.get,
        "tasks/update": tasks.update,
        "tasks/cancel": tasks.cancel,
    },
}


def named(call: Call) -> Callable[[Call], dict[str, Any]] | None:
    """Return the function of a call's method, which depends on the era; None if it has none."""
    return _METHODS[call.is_stateless].get(call.message.method)
