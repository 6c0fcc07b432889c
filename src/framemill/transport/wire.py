"""HTTP without I/O: connection options, interpretation of responses, retry intervals.

Both clients are thin loops around this module and :mod:`framemill.transport.routes`, so they behave alike.
"""

from __future__ import annotations

import ipaddress
import random
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from framemill.errors import ApiError, ServerUnavailable
from framemill.records import Preview
from framemill.transport.routes import NOT_SENT, Call

T = TypeVar("T")

#: Delays before each retry of a call, in seconds. Each is varied by ±50 % so that many clients do not retry at the
#: same moment.
RETRY_WAITS_S = (0.1, 0.3, 0.8, 2.0)

#: Size of the chunks in which a download is written.
CHUNK_BYTES = 1 << 16


def part_file(target: Path) -> Path:
    """Return a temporary path beside ``target`` for an incomplete download."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def retry_waits() -> list[float]:
    """Return the seconds to wait before each retry."""
    return [wait * random.uniform(0.5, 1.5) for wait in RETRY_WAITS_S]  # noqa: S311  (not a secret)


def options(base_url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """Return the arguments of the HTTP library's client. Raises: ValueError: wrong ``base_url`` or ``api_key``."""
    try:
        url = httpx2.URL(base_url)
    except httpx2.InvalidURL as exc:
        raise ValueError(f"{base_url!r}: {exc}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"{base_url!r} is not an http:// or https:// address")
    headers = {"Accept": "application/json, */*;q=0.5"}
    if api_key:
        if not (api_key.isascii() and api_key.isprintable()):
            raise ValueError("the API key contains characters that no API key has")
        headers["Authorization"] = f"Bearer {api_key}"
    return {
        "base_url": url,
        "headers": headers,
        "timeout": timeout_s,
        # A proxy from the environment cannot reach a server on this machine's loopback interface.
        "trust_env": not is_loopback(url.host),
    }


def address_of(base_url: str, link: str) -> str:
    """Return a link of a response as an address. A server that does not know its path prefix leaves the prefix out."""
    if "://" in link:
        return link
    prefix = httpx2.URL(base_url).path.rstrip("/")
    return (base_url.removesuffix(prefix) if link.startswith(f"{prefix}/") else base_url) + link


def no_answer(call: Call, base_url: str, exc: httpx2.RequestError) -> ServerUnavailable:
    """Return the error for a call that got no response."""
    was_sent = not isinstance(exc, NOT_SENT)
    doubt = " (the request may have arrived)" if was_sent and call.method != "GET" else ""
    reason = re.sub(r"^\[Errno -?\d+\] ", "", str(exc)) or type(exc).__name__
    return ServerUnavailable(
        "no_answer", f"no answer from {base_url}: {reason}{doubt}", maybe_received=was_sent and call.method != "GET"
    )


def error_of(response: httpx2.Response) -> ApiError:
    """Return the error for a response of 400 and above. Its body must have been read."""
    code, fields = f"http_{response.status_code}", ()
    message = response.text.strip()[:200] or response.reason_phrase
    try:
        body = response.json()
        message = body.get("detail") or message
        error = body.get("error") or {}
        code, message, fields = error.get("code", code), error.get("message", message), error.get("fields") or ()
    except (ValueError, AttributeError):
        pass  # an HTML page of a proxy: the status is enough
    try:
        retry_after_s = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after_s = None
    kind = ServerUnavailable if response.status_code in (502, 503, 504) else ApiError
    return kind(code, str(message), response.status_code, fields, retry_after_s)


def record_of(response: httpx2.Response, build: Callable[[Any], T]) -> T:
    """Build a record from a successful response.

    Raises:
        ApiError: the response has the wrong form; the address belongs to another service.
    """
    try:
        return build(response.json())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise bad_answer(response) from None


def preview_of(response: httpx2.Response, content: bytes) -> Preview:
    """Build a preview from a successful response. Raises: ApiError: the response is not a preview."""
    try:
        return Preview(int(response.headers["Preview-Step"]), response.headers["Content-Type"], content)
    except (KeyError, ValueError):
        raise bad_answer(response) from None


def bad_answer(response: httpx2.Response) -> ApiError:
    """Return the error for a response that is not from a Framemill server."""
    return ApiError("bad_answer", f"{response.url} did not answer like a Framemill server", response.status_code)


def is_loopback(host: str) -> bool:
    """Return whether a host of an address is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
