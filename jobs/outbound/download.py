"""Downloads a link that a client gave, over :mod:`jobs.outbound.ssrf`."""

from __future__ import annotations

import socket
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import SplitResult, urljoin

from jobs.errors import InvalidRequest, Problem
from jobs.outbound.ssrf import Exchange, Refused, Resolve, lookup, parse_link

MAX_REDIRECTS = 3


def fetch(
    url: str, *, max_bytes: int, timeout_s: float, allow_hosts: frozenset[str] = frozenset(), resolve: Resolve = lookup
) -> bytes:
    """The body behind an http or https link. Proxies and credentials of the environment are not used.

    Args:
        url: what the client sent.
        max_bytes: largest body.
        timeout_s: limit for everything together, seconds: names, redirects, connection and body.
        allow_hosts: hosts, in lower case and as the link spells them, that may have private addresses.
        resolve: host and port to addresses; called once for the link and once for each redirect.

    Raises:
        InvalidRequest: for field ``image``, whatever the reason; the rule names no address of this network.
    """
    exchange = Exchange(timeout_s, allow_hosts, resolve)
    try:
        return exchange.within(lambda: _follow(exchange, url, max_bytes))
    except Refused as exc:
        rule = str(exc)
    except TimeoutError:
        rule = f"the link must answer completely within {timeout_s:g} seconds"
    except (OSError, HTTPException, ValueError):
        # The system's own text would say whether a port is closed, filtered or speaks another protocol.
        rule = "the link's server does not answer correctly"
    raise InvalidRequest(Problem("image", rule, None if "@" in url else url))  # with an @ it may hold a password


def _follow(exchange: Exchange, url: str, max_bytes: int) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        link = parse_link(url)
        with exchange.connected(link) as sock, _ask(sock, link) as answer:
            if answer.status not in (301, 302, 303, 307, 308):
                return _body(answer, max_bytes)
            url = urljoin(url, answer.getheader("Location", ""))
    raise Refused(f"the link must not redirect more than {MAX_REDIRECTS} times")


def _body(answer: HTTPResponse, max_bytes: int) -> bytes:
    if answer.status != 200:
        raise Refused(f"the link must answer with status 200, not {answer.status}")
    if answer.getheader("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise Refused("the link's server must not compress the file")
    body = bytearray()
    # read1, not read: http.client takes a chunk size of -1 for "all there is", without any limit.
    while len(body) + (answer.length or 0) <= max_bytes:
        if chunk := answer.read1(64 * 1024):
            body += chunk
        elif answer.length:  # what is missing of Content-Length
            raise Refused("the link's server must send the complete file")
        else:
            return bytes(body)
    raise Refused(f"the linked file must not exceed {max_bytes} bytes")


def _ask(sock: socket.socket, link: SplitResult) -> HTTPResponse:
    connection = HTTPConnection(link.netloc)
    connection.sock = sock
    headers = {"Host": link.netloc, "User-Agent": "Framemill", "Accept": "image/*", "Connection": "close"}
    connection.request("GET", link.path + ("?" + link.query if link.query else ""), headers=headers)
    return connection.getresponse()
