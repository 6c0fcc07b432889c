"""HTTP without doing any I/O: how to connect, what an answer means, when to try again.

Both clients are thin loops around this module and :mod:`framemill.calls`, so they cannot drift apart.
"""

from __future__ import annotations

import ipaddress
import random
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from framemill.calls import NOT_SENT, Call
from framemill.errors import ApiError, ServerUnavailable
from framemill.records import Preview

T = TypeVar("T")

#: Waits before the second and later tries of a call, seconds; each is varied by ±50 % so that many clients
#: do not come back at the same moment.
RETRY_WAITS_S = (0.1, 0.3, 0.8, 2.0)

#: A download is written in pieces of this size.
CHUNK_BYTES = 1 << 16


def part_file(target: Path) -> Path:
    """Where a download grows until it is complete."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def retry_waits() -> list[float]:
    """Seconds to wait before each further try."""
    return [wait * random.uniform(0.5, 1.5) for wait in RETRY_WAITS_S]  # noqa: S311, no secret


def options(base_url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """Arguments of the HTTP library's client. Raises: ValueError: ``base_url`` is no http or https address."""
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as exc:
        raise ValueError(f"{base_url!r}: {exc}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{base_url!r} is no http:// or https:// address")
    headers = {"Accept": "application/json, */*;q=0.5"}
    if api_key:
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("the API key has characters that no key has")
        headers["Authorization"] = f"Bearer {api_key}"
    return {
        "base_url": url,
        "headers": headers,
        "timeout": timeout_s,
        # A proxy of the environment cannot reach a server on this machine's loopback.
        "trust_env": not _is_loopback(url.host),
    }


def no_answer(call: Call, base_url: str, exc: httpx2.RequestError) -> ServerUnavailable:
    """The error for a call that got no answer."""
    sent = not isinstance(exc, NOT_SENT)
    doubt = " (the request may have arrived)" if sent and call.method != "GET" else ""
    reason = str(exc) or type(exc).__name__
    return ServerUnavailable(
        "no_answer", f"no answer from {base_url}: {reason}{doubt}", maybe_received=sent and call.method != "GET"
    )


def error_of(response: httpx2.Response) -> ApiError:
    """The error an answer of 400 and above means. The body must have been read."""
    code, fields = f"http_{response.status_code}", ()
    message = response.text.strip()[:200] or response.reason_phrase
    try:
        answer = response.json()
        message = answer.get("detail") or message
        error = answer.get("error") or {}
        code, message, fields = error.get("code", code), error.get("message", message), error.get("fields") or ()
    except (ValueError, AttributeError):
        pass  # a proxy's page: the status says enough
    try:
        retry_after_s = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after_s = None
    kind = ServerUnavailable if response.status_code in (502, 503, 504) else ApiError
    return kind(code, str(message), response.status_code, fields, retry_after_s)


def answer_of(response: httpx2.Response, build: Callable[[Any], T]) -> T:
    """The record in a good answer.

    Raises:
        ApiError: it is not what this server answers; the address belongs to another service.
    """
    try:
        return build(response.json())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise bad_answer(response) from None


def preview_of(response: httpx2.Response, content: bytes) -> Preview:
    """The preview in a good answer. Raises: ApiError: it is none."""
    try:
        return Preview(int(response.headers["Preview-Step"]), response.headers["Content-Type"], content)
    except (KeyError, ValueError):
        raise bad_answer(response) from None


def bad_answer(response: httpx2.Response) -> ApiError:
    """The error for an answer that a Framemill server would not give."""
    return ApiError("bad_answer", f"{response.url} did not answer like a Framemill server", response.status_code)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
