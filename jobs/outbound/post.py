"""Send a message or a file to a link that a client sent."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult

import httpcore2

from jobs.outbound import guarded_http
from jobs.outbound.links import LinkRefused, host_of, parse_link, port_of
from jobs.outbound.ssrf import GuardedCall, Resolve, lookup

#: Limits for reading the body of the response. It is not used; reading it lets the server finish its response.
MAX_RESPONSE_BYTES, RESPONSE_BODY_S = 16 * 1024, 1.0


@dataclass(frozen=True)
class PostResult:
    """The result of a post: either ``status`` or ``error``."""

    status: int | None = None
    error: str = ""
    #: ``Retry-After`` of the response, seconds; None without one.
    retry_after_s: float | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def post(
    url: str, body: bytes, headers: dict[str, str], *, timeout_s: float, allow_hosts: frozenset[str] = frozenset(),
    resolve: Resolve = lookup, method: str = "POST",
) -> PostResult:  # fmt: skip
    """Send a message. Redirects are not followed. Never raises.

    Args:
        url: the link as the client sent it.
        body: the content.
        headers: in addition to Host, User-Agent and Content-Length.
        timeout_s: limit for the total of name resolution, connection and response, seconds.
        allow_hosts: hosts in lower case, spelled as in the link, that may have private addresses.
        resolve: host and port → addresses; called once.
        method: ``POST``, or ``PUT`` for a file.
    """
    call = GuardedCall(timeout_s, allow_hosts, resolve)
    try:
        return call.run(lambda: _send(call, method, url, body, headers))
    except LinkRefused as exc:
        return PostResult(error=str(exc))
    except TimeoutError:
        return PostResult(error=f"no answer within {timeout_s:g} seconds")
    except guarded_http.SERVER_ERRORS as exc:
        return PostResult(error=_reason(exc))


def check_address(url: str, *, timeout_s: float, allow_hosts: frozenset[str], resolve: Resolve = lookup) -> SplitResult:
    """Return the parts of a link that may be sent to; its host is resolved. Raises: LinkRefused."""
    link = parse_link(url)
    call = GuardedCall(timeout_s, allow_hosts, resolve)
    try:
        call.run(lambda: call.addresses(host_of(link), port_of(link)))
    except TimeoutError:
        raise LinkRefused("the link's host could not be resolved in time") from None
    return link


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLError):
        return f"the encrypted connection failed: {cause.reason or 'it was closed'}"
    if isinstance(cause, ConnectionRefusedError):
        return "the connection was refused"
    return f"no correct answer: {type(cause).__name__}"


def _send(call: GuardedCall, method: str, url: str, body: bytes, headers: dict[str, str]) -> PostResult:
    with guarded_http.request(call, method, parse_link(url), headers, body, body_read_s=RESPONSE_BODY_S) as response:
        _read_body(response)
        retry_after_s = _seconds(guarded_http.header(response, "retry-after"))
        return PostResult(response.status, retry_after_s=retry_after_s)


def _read_body(response: httpcore2.Response) -> None:
    until, left_bytes = time.monotonic() + RESPONSE_BODY_S, MAX_RESPONSE_BYTES
    with suppress(httpcore2.TimeoutException, *guarded_http.SERVER_ERRORS):
        for chunk in response.iter_stream():
            left_bytes -= len(chunk)
            if left_bytes <= 0 or time.monotonic() >= until:
                return


def _seconds(text: str) -> float | None:
    """Parse ``Retry-After``: seconds, or a date."""
    if text.strip().isdecimal():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
