"""HTTP requests to links of clients: a network backend for httpcore2 that connects to checked addresses only."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import SplitResult

import httpcore2

from jobs.outbound.links import LinkRefused, host_of, port_of
from jobs.outbound.ssrf import GuardedCall

#: Errors of a server that does not answer, or does not speak HTTP correctly.
SERVER_ERRORS = (httpcore2.NetworkError, httpcore2.ProtocolError, OSError, ValueError)
#: Limits for the headers of a response.
MAX_HEADERS, MAX_HEADER_BYTES = 100, 64 * 1024


class GuardedBackend(httpcore2.NetworkBackend):
    """Resolves a host, checks its addresses, and connects to one of them within the time of a call."""

    def __init__(self, call: GuardedCall) -> None:
        self._call = call

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:  # fmt: skip
        """Connect to the first address that accepts. Raises: LinkRefused, httpcore2.ConnectError, TimeoutError."""
        stream = self._first(self._call.addresses(host, port), port)
        try:
            self._call.watch(stream.get_extra_info("socket"))
        except BaseException:
            stream.close()
            raise
        return stream

    def _first(self, addresses: list[str], port: int) -> httpcore2.NetworkStream:
        backend = httpcore2.SyncBackend()
        wait_s = self._call.left_s() / len(addresses)  # an unreachable first address must not use up all of the time
        for address in addresses[:-1]:
            with suppress(httpcore2.ConnectError, httpcore2.ConnectTimeout):
                return backend.connect_tcp(address, port, timeout=wait_s, socket_options=())
        return backend.connect_tcp(addresses[-1], port, timeout=self._call.left_s(), socket_options=())


@contextmanager
def request(
    call: GuardedCall, method: str, link: SplitResult, headers: dict[str, str], body: bytes | None = None, *,
    body_read_s: float | None = None,
) -> Iterator[httpcore2.Response]:  # fmt: skip
    """Send a request; the body of the response is read within the context.

    The environment's proxies and credentials are not used, and redirects are not followed.

    Args:
        call: sets the total time limit and the hosts that may be private.
        method: such as ``GET``.
        link: a link from :func:`jobs.outbound.links.parse_link`.
        headers: headers in addition to Host, User-Agent and Content-Length.
        body: content of the request.
        body_read_s: longest wait for the next part of the response's body, seconds; None: the time that is left.

    Raises:
        LinkRefused: the host is not allowed.
        TimeoutError: a read or write took longer than the time that was left when the request began.
        Exception: one of :data:`SERVER_ERRORS`.
    """
    port, target = port_of(link), link.path + ("?" + link.query if link.query else "")
    url = httpcore2.URL(scheme=link.scheme, host=host_of(link), port=port, target=target)
    context = ssl.create_default_context() if link.scheme == "https" else None
    all_headers = [("Host", link.netloc), ("User-Agent", "Framemill"), ("Connection", "close"), *headers.items()]
    timeout = dict.fromkeys(("connect", "read", "write"), call.left_s())
    with (
        _timeouts(),
        httpcore2.HTTPConnection(url.origin, ssl_context=context, network_backend=GuardedBackend(call)) as connection,
        connection.stream(method, url, headers=all_headers, content=body, extensions={"timeout": timeout}) as response,
    ):
        if len(response.headers) > MAX_HEADERS or sum(map(len, sum(response.headers, ()))) > MAX_HEADER_BYTES:
            raise LinkRefused("the link's server must send fewer headers")
        if body_read_s is not None:
            timeout["read"] = body_read_s  # httpcore2 looks it up when it begins to read the body
        yield response


def header(response: httpcore2.Response, name: str) -> str:
    """Return a header of a response; '' if it is absent."""
    return raw_header(response, name).decode("latin-1")


def raw_header(response: httpcore2.Response, name: str) -> bytes:
    """Return the bytes of a header of a response; b'' if it is absent."""
    return next((value for key, value in response.headers if key.lower() == name.encode()), b"")


@contextmanager
def _timeouts() -> Iterator[None]:
    try:
        yield
    except httpcore2.TimeoutException as exc:
        raise TimeoutError from exc
