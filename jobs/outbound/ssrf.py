"""Protection against server-side request forgery: no link of a client leads into the private network.

The rules follow OWASP's cheat sheet on server-side request forgery. A name is resolved once, all its addresses are
checked, and the connection goes to a checked address instead of the name. So a different answer of the DNS server later
(DNS rebinding) changes nothing. Downloads (:mod:`jobs.outbound.download`) and webhooks (:mod:`jobs.outbound.post`)
connect through :mod:`jobs.outbound.guarded_http`, which uses this module.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TypeVar

from jobs.outbound.links import LinkRefused

MAX_CONNECTS = 3  #: At most this many addresses of a name are tried.
#: Host and port → all addresses of the host, as text. Raises: OSError, UnicodeError.
Resolve = Callable[[str, int], list[str]]

T = TypeVar("T")

#: Metadata services of clouds outside the link-local range: Azure, Alibaba, Oracle, AWS over IPv6.
_METADATA = [ip_network(n) for n in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")]
#: Global according to ``ipaddress``, but tunnels to IPv4 (6to4, Teredo) or documentation: IANA's special-purpose
#: address registries.
_NOT_PUBLIC = [ip_network(n) for n in ("192.88.99.0/24", "2002::/16", "2001::/32", "3fff::/20")]
_UNICAST_V6, _NAT64 = ip_network("2000::/3"), ip_network("64:ff9b::/96")


def may_connect(address: str, *, private: bool = False) -> bool:
    """Whether a client's link may lead to an IP address.

    Args:
        address: the address as text.
        private: allow private addresses as well; link-local addresses and metadata services stay forbidden.
    """
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv6Address):
        embedded = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped
        if embedded or ip.scope_id:
            return embedded is not None and may_connect(str(embedded), private=private)
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified or any(ip in network for network in _METADATA):
        return False
    if private or any(ip in network for network in _NOT_PUBLIC):
        return private
    # Before 3.13 Python counts IPv6 ranges as global that are not assigned to hosts.
    return ip.is_global and (ip.version == 4 or ip in _UNICAST_V6)


def lookup(host: str, port: int) -> list[str]:
    """Return every address of a host, in the system's order of preference. Raises: OSError, UnicodeError."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


class GuardedCall:
    """One call to a client's server: the addresses that it may connect to, and a limit for its total time."""

    def __init__(self, timeout_s: float, allow_hosts: frozenset[str] = frozenset(), resolve: Resolve = lookup) -> None:
        """``allow_hosts``: hosts in lower case, spelled as in the link, that may have private addresses."""
        self._timeout_s, self._allow_hosts, self._resolve = timeout_s, allow_hosts, resolve
        self._deadline = time.monotonic() + timeout_s
        self._socket: socket.socket | None = None

    def run(self, work: Callable[[], T]) -> T:
        """Return ``work()``, or abandon it when the time is over.

        Raises:
            TimeoutError: the time is over.
            Exception: whatever ``work`` raises.
        """
        result: Future[T] = Future()

        def target() -> None:
            try:
                result.set_result(work())
            except BaseException as exc:  # raised again where the result is read
                result.set_exception(exc)

        # A thread (a greenlet under gevent), because neither the resolver nor a TLS handshake has a total time limit.
        threading.Thread(target=target, name="guarded call", daemon=True).start()
        try:
            return result.result(self._timeout_s)
        finally:
            self._shut_down()

    def addresses(self, host: str, port: int) -> list[str]:
        """Resolve a host and return its checked addresses. Raises: LinkRefused."""
        with suppress(OSError, UnicodeError):
            addresses = self._resolve(host, port)
            if addresses and all(may_connect(address, private=host in self._allow_hosts) for address in addresses):
                return addresses[:MAX_CONNECTS]
        # One text for every reason: it must not reveal which names exist in the private network.
        raise LinkRefused("the link's host must exist and have public addresses only")

    def left_s(self) -> float:
        """Return the seconds that are left. Raises: TimeoutError: none are."""
        if (left_s := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError
        return left_s

    def watch(self, sock: socket.socket) -> None:
        """Shut this connection down when the call ends, instead of the one before.

        Raises:
            TimeoutError: the call has ended already.
        """
        self._shut_down()
        self._socket = sock.dup()  # TLS detaches the original socket
        if time.monotonic() >= self._deadline:
            self._shut_down()
            raise TimeoutError

    def _shut_down(self) -> None:
        """Shut the connection down: a thread that still reads from it sees the end of the stream, and ends."""
        watched, self._socket = self._socket, None
        if watched is not None:
            with suppress(OSError), watched:
                watched.shutdown(socket.SHUT_RDWR)
