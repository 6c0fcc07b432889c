"""Connections to addresses that clients name, without becoming their way into the private network (SSRF).

The rules follow OWASP's sheet on server-side request forgery: a name is resolved once, every address is checked, and
the connection goes to a checked address, not to the name, so that a second answer of the DNS server changes nothing.
Used by downloads (:mod:`jobs.outbound.download`) and webhooks (:mod:`jobs.outbound.post`).
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeVar
from urllib.parse import SplitResult, quote, urlsplit

MAX_CONNECTS = 3  #: Of a name with many addresses no more are tried.
MAX_URL_CHARS = 8192  #: Presigned links with a session token reach 2 KiB.
#: Host and port to all addresses of the host, as text. Raises: OSError, UnicodeError.
Resolve = Callable[[str, int], list[str]]

T = TypeVar("T")

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,252}|[0-9a-f:.]*:[0-9a-f:.]*")
#: Characters on whose meaning URL parsers disagree (``http://a\@b/``; tabs that some of them drop).
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
#: Metadata services of clouds outside the link-local range: Azure, Alibaba, Oracle, AWS over IPv6.
_METADATA = [ip_network(n) for n in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")]
#: Global by number, yet tunnels to IPv4 (6to4, Teredo) or documentation: IANA's special-purpose address registries.
_NOT_PUBLIC = [ip_network(n) for n in ("192.88.99.0/24", "2002::/16", "2001::/32", "3fff::/20")]
_UNICAST_V6, _NAT64 = ip_network("2000::/3"), ip_network("64:ff9b::/96")


class Refused(Exception):
    """Its text goes to the client: no addresses."""


def may_connect(address: str, *, private: bool = False) -> bool:
    """Whether a link may lead to this IP address: a public one; with ``private`` any but link-local and metadata."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        inner = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped
        if inner or ip.scope_id:
            return inner is not None and may_connect(str(inner), private=private)
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or any(ip in network for network in _METADATA):
        return False
    if private or any(ip in network for network in _NOT_PUBLIC):
        return private
    # Python before 3.13 calls more of IPv6 global than is assigned to hosts.
    return ip.is_global and (ip.version == 4 or ip in _UNICAST_V6)


def lookup(host: str, port: int) -> list[str]:
    """Every address of ``host``, in the system's order of preference. Raises: OSError, UnicodeError."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class Exchange:
    """All that is said to a client's server for one purpose, within a total time."""

    def __init__(self, timeout_s: float, allow_hosts: frozenset[str] = frozenset(), resolve: Resolve = lookup) -> None:
        """``allow_hosts``: hosts, in lower case and as the link spells them, that may have private addresses."""
        self._timeout_s, self._allow_hosts, self._resolve = timeout_s, allow_hosts, resolve
        self._deadline = time.monotonic() + timeout_s
        self._guard: socket.socket | None = None

    def within(self, work: Callable[[], T]) -> T:
        """``work()``, given up when the time is over.

        Raises:
            TimeoutError: it is over. And what ``work`` raises: Refused, OSError, ValueError, HTTPException.
        """
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(work())
            except BaseException as exc:  # raised again where the result is taken
                result.set_exception(exc)

        # A thread (under gevent a greenlet), since neither the resolver nor a TLS handshake knows a total limit.
        threading.Thread(target=run, name="exchange", daemon=True).start()
        try:
            return result.result(self._timeout_s)
        finally:
            self._abandon()  # what the thread is still reading now reports the end of the stream

    def _abandon(self) -> None:
        with suppress(OSError):
            if self._guard:
                self._guard.shutdown(socket.SHUT_RDWR)

    def addresses(self, link: SplitResult) -> list[str]:
        """The checked addresses of the link's host. Raises: Refused."""
        host = _host(link)
        with suppress(OSError, UnicodeError):
            addresses = self._resolve(host, _port(link))
            if addresses and all(may_connect(address, private=host in self._allow_hosts) for address in addresses):
                return addresses[:MAX_CONNECTS]
        # One text for every reason: nobody shall ask which names exist in the private network.
        raise Refused("the link's host must exist and have public addresses only")

    @contextmanager
    def connected(self, link: SplitResult) -> Iterator[socket.socket]:
        """A connection to a checked address, encrypted for https. Raises: Refused, OSError."""
        with self._first(self.addresses(link), _port(link)) as sock, sock.dup() as self._guard:
            sock.settimeout(self.left_s())  # raises if the time ended before there was a guard
            if link.scheme == "http":
                yield sock
                return
            with ssl.create_default_context().wrap_socket(sock, server_hostname=_host(link)) as encrypted:
                yield encrypted

    def _first(self, addresses: list[str], port: int) -> socket.socket:
        wait_s = self.left_s() / len(addresses)  # a dead first address must not use up all of the time
        for address in addresses[:-1]:
            with suppress(OSError):
                return socket.create_connection((address, port), timeout=wait_s)
        return socket.create_connection((addresses[-1], port), timeout=self.left_s())

    def left_s(self) -> float:
        """Raises: TimeoutError: nothing is left."""
        if (left_s := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError
        return left_s


def _host(link: SplitResult) -> str:
    return str(link.hostname).removesuffix(".")


def _port(link: SplitResult) -> int:
    return link.port or _PORTS[link.scheme]


def receiver(link: SplitResult) -> str:
    """Host and port of a link, in one spelling."""
    return f"{_host(link)}:{_port(link)}"


def parse_link(url: str) -> SplitResult:
    """The checked link, in ASCII. Its authority stays as spelled: a presigned link signs its Host header.

    Raises:
        Refused.
    """
    if len(url) > MAX_URL_CHARS or _AMBIGUOUS.search(url):
        raise Refused(f"a link must not contain spaces, backslashes or more than {MAX_URL_CHARS} characters")
    try:
        link = urlsplit(url)
        link = link._replace(netloc=link.netloc if link.netloc.isascii() else link.netloc.encode("idna").decode())
        well_formed = link.port != 0 and _HOST.fullmatch(link.hostname or "")
    except ValueError:
        well_formed = False
    if not url.lower().startswith(("http://", "https://")):
        raise Refused("a link must start with http:// or https://")
    if not well_formed or "@" in link.netloc:
        raise Refused("a link must name a host, without user name or password")
    path, query = quote(link.path or "/", safe="/%:@!$&'()*+,;=~"), quote(link.query, safe="/?%:@!$&'()*+,;=~[]|")
    return link._replace(path=path, query=query)
