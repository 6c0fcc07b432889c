"""Posts a message to a link that a client gave, over :mod:`jobs.outbound.ssrf`."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse

from jobs.outbound.ssrf import Exchange, Refused, Resolve, lookup, parse_link

#: Of the answer's body no more is read, and for no longer: only so that the server is not cut off in the middle.
MAX_ANSWER_BYTES, ANSWER_BODY_S = 16 * 1024, 1.0


@dataclass(frozen=True)
class Answer:
    """What a post came to. Either ``status`` or ``error``."""

    status: int | None = None
    error: str = ""
    #: ``Retry-After`` of the answer, seconds; None without one.
    retry_after_s: float | None = None

    @property
    def accepted(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def post(
    url: str, body: bytes, headers: dict[str, str], *, timeout_s: float, allow_hosts: frozenset[str] = frozenset(),
    resolve: Resolve = lookup,
) -> Answer:  # fmt: skip
    """Send ``body``; redirects are answers like others. Proxies of the environment are not used. Never raises.

    Args:
        url: where to.
        body: the content.
        headers: beside Host, User-Agent and Content-Length.
        timeout_s: limit for everything together, seconds: name, connection and answer.
        allow_hosts: hosts, in lower case and as the link spells them, that may have private addresses.
        resolve: host and port to addresses; called once.
    """
    exchange = Exchange(timeout_s, allow_hosts, resolve)
    try:
        return exchange.within(lambda: _post(exchange, url, body, headers))
    except Refused as exc:
        return Answer(error=str(exc))
    except TimeoutError:
        return Answer(error=f"no answer within {timeout_s:g} seconds")
    except ssl.SSLError as exc:
        return Answer(error=f"no encrypted connection: {exc.reason or 'broken off'}")
    except ConnectionRefusedError:
        return Answer(error="the connection was refused")
    except (OSError, HTTPException, ValueError) as exc:
        return Answer(error=f"no correct answer: {type(exc).__name__}")


def _post(exchange: Exchange, url: str, body: bytes, headers: dict[str, str]) -> Answer:
    link = parse_link(url)
    with exchange.connected(link) as sock:
        connection = HTTPConnection(link.netloc)
        connection.sock = sock
        target = link.path + ("?" + link.query if link.query else "")
        own = {"Host": link.netloc, "User-Agent": "Framemill", "Connection": "close"}
        connection.request("POST", target, body=body, headers={**headers, **own})
        with connection.getresponse() as answer:
            _drain(sock, answer)
            return Answer(answer.status, retry_after_s=_seconds(answer.getheader("Retry-After", "")))


def _drain(sock: socket.socket, answer: HTTPResponse) -> None:
    until, left_bytes = time.monotonic() + ANSWER_BODY_S, MAX_ANSWER_BYTES
    with suppress(OSError, HTTPException, ValueError):
        while left_bytes > 0 and (left_s := until - time.monotonic()) > 0:
            sock.settimeout(left_s)
            chunk = answer.read1(left_bytes)
            if not chunk:
                return
            left_bytes -= len(chunk)


def _seconds(text: str) -> float | None:
    """``Retry-After``: seconds, or a date."""
    if text.strip().isdecimal():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
