"""Download a link that a client sent."""

from __future__ import annotations

import httpcore2

from jobs.errors import InvalidRequest, Problem
from jobs.outbound import guarded_http
from jobs.outbound.links import LinkRefused, parse_link, redirect_target
from jobs.outbound.ssrf import GuardedCall, Resolve, lookup

MAX_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def download(
    url: str, *, max_bytes: int, timeout_s: float, allow_hosts: frozenset[str] = frozenset(), resolve: Resolve = lookup
) -> bytes:
    """Return the body behind an http or https link.

    Args:
        url: the link as the client sent it.
        max_bytes: largest body.
        timeout_s: limit for the total of name resolution, redirects, connection and body, seconds.
        allow_hosts: hosts in lower case, spelled as in the link, that may have private addresses.
        resolve: host and port → addresses; called once for the link and once for each redirect.

    Raises:
        InvalidRequest: for the field ``image``, whatever the reason. The rule names no address of the private network.
    """
    call = GuardedCall(timeout_s, allow_hosts, resolve)
    try:
        return call.run(lambda: _follow(call, url, max_bytes))
    except LinkRefused as exc:
        rule = f"could not be downloaded: {exc}"
    except TimeoutError:
        rule = f"could not be downloaded: the link must answer completely within {timeout_s:g} seconds"
    except guarded_http.SERVER_ERRORS:
        # The system's own text would reveal whether a port is closed, filtered or speaks another protocol.
        rule = "could not be downloaded: the link's server does not answer correctly"
    raise InvalidRequest(Problem("image", rule, None if "@" in url else url))  # with an @ it may contain a password


def _follow(call: GuardedCall, url: str, max_bytes: int) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        with guarded_http.request(call, "GET", parse_link(url), {"Accept": "image/*, video/*, audio/*"}) as response:
            if response.status not in _REDIRECTS:
                return _body(response, max_bytes)
            url = redirect_target(url, guarded_http.raw_header(response, "location"))
    raise LinkRefused(f"the link must not redirect more than {MAX_REDIRECTS} times")


def _body(response: httpcore2.Response, max_bytes: int) -> bytes:
    if response.status != 200:
        raise LinkRefused(f"the link must answer with status 200, not {response.status}")
    if guarded_http.header(response, "content-encoding").strip().lower() not in ("", "identity"):
        raise LinkRefused("the link's server must not compress the file")
    too_large = LinkRefused(f"the linked file must not exceed {max_bytes} bytes")
    announced = guarded_http.header(response, "content-length")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    try:
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > max_bytes:
                raise too_large
    except httpcore2.RemoteProtocolError:
        raise LinkRefused("the link's server must send the complete file") from None
    return bytes(body)
