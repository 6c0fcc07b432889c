"""Downloads a link that a client gave, without becoming the client's way into the private network (SSRF).

The rules follow OWASP's sheet on server-side request forgery: a name is resolved once, every address is checked, and
the connection goes to a checked address, not to the name, so that a second answer of the DNS server changes nothing.
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
from http.client import HTTPConnection, HTTPException, HTTPResponse
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from jobs.errors import InvalidRequest, Problem

MAX_REDIRECTS = 3
MAX_CONNECTS = 3  #: Of a name with many addresses no more are tried.
MAX_URL_CHARS = 8192  #: Presigned links with a session token reach 2 KiB.
#: Host and port to all addresses of the host, as text. Raises: OSError, UnicodeError.
Resolve = Callable[[str, int], list[str]]

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,252}|[0-9a-f:.]*:[0-9a-f:.]*")
#: Characters on whose meaning URL parsers disagree (``http://a\@b/``; tabs that some of them drop).
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")
#: Metadata services of clouds outside the link-local range: Azure, Alibaba, Oracle, AWS over IPv6.
_METADATA = [ip_network(n) for n in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254")]
#: Global by number, yet tunnels to IPv4 (6to4, Teredo) or documentation: IANA's special-purpose address registries.
_NOT_PUBLIC = [ip_network(n) for n in ("192.88.99.0/24", "2002::/16", "2001::/32", "3fff::/20")]
_UNICAST_V6, _NAT64 = ip_network("2000::/3"), ip_network("64:ff9b::/96")


class _Refused(Exception):
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
    download = _Download(max_bytes, timeout_s, allow_hosts, resolve)
    result: Future[bytes] = Future()
    # A thread (under gevent a greenlet), since neither the resolver nor a TLS handshake knows a total limit.
    threading.Thread(target=download.run, args=(url, result), name="fetch", daemon=True).start()
    try:
        return result.result(timeout_s)
    except _Refused as exc:
        rule = str(exc)
    except TimeoutError:
        rule = f"the link must answer completely within {timeout_s:g} seconds"
    except (OSError, HTTPException, ValueError):
        # The system's own text would say whether a port is closed, filtered or speaks another protocol.
        rule = "the link's server does not answer correctly"
    finally:
        download.abandon()  # what the thread is still reading now reports the end of the stream
    raise InvalidRequest(Problem("image", rule, None if "@" in url else url))  # with an @ it may hold a password


class _Download:
    def __init__(self, max_bytes: int, timeout_s: float, allow_hosts: frozenset[str], resolve: Resolve) -> None:
        self._max_bytes, self._allow_hosts, self._resolve = max_bytes, allow_hosts, resolve
        self._deadline = time.monotonic() + timeout_s
        self._guard: socket.socket | None = None

    def run(self, url: str, result: Future[bytes]) -> None:
        try:
            result.set_result(self._follow(url))
        except BaseException as exc:  # raised again where the result is taken
            result.set_exception(exc)

    def abandon(self) -> None:
        with suppress(OSError):
            if self._guard:
                self._guard.shutdown(socket.SHUT_RDWR)

    def _follow(self, url: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            link = _parse(url)
            with self._connected(link, *self._checked(link)) as sock, _ask(sock, link) as answer:
                if answer.status not in (301, 302, 303, 307, 308):
                    return self._body(answer)
                url = urljoin(url, answer.getheader("Location", ""))
        raise _Refused(f"the link must not redirect more than {MAX_REDIRECTS} times")

    def _checked(self, link: SplitResult) -> tuple[str, int, list[str]]:
        """Host, port and addresses."""
        host, port = str(link.hostname).removesuffix("."), link.port or _PORTS[link.scheme]
        with suppress(OSError, UnicodeError):
            addresses = self._resolve(host, port)
            if addresses and all(may_connect(address, private=host in self._allow_hosts) for address in addresses):
                return host, port, addresses[:MAX_CONNECTS]
        # One text for every reason: nobody shall ask which names exist in the private network.
        raise _Refused("the link's host must exist and have public addresses only")

    @contextmanager
    def _connected(self, link: SplitResult, host: str, port: int, addresses: list[str]) -> Iterator[socket.socket]:
        with self._first(addresses, port) as sock, sock.dup() as self._guard:
            sock.settimeout(self._left_s())  # raises if abandon() came before there was a guard
            if link.scheme == "http":
                yield sock
                return
            with ssl.create_default_context().wrap_socket(sock, server_hostname=host) as encrypted:
                yield encrypted

    def _first(self, addresses: list[str], port: int) -> socket.socket:
        wait_s = self._left_s() / len(addresses)  # a dead first address must not use up all of the time
        for address in addresses[:-1]:
            with suppress(OSError):
                return socket.create_connection((address, port), timeout=wait_s)
        return socket.create_connection((addresses[-1], port), timeout=self._left_s())

    def _left_s(self) -> float:
        if (left_s := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError
        return left_s

    def _body(self, answer: HTTPResponse) -> bytes:
        if answer.status != 200:
            raise _Refused(f"the link must answer with status 200, not {answer.status}")
        if answer.getheader("Content-Encoding", "").strip().lower() not in ("", "identity"):
            raise _Refused("the link's server must not compress the file")
        body = bytearray()
        # read1, not read: http.client takes a chunk size of -1 for "all there is", without any limit.
        while len(body) + (answer.length or 0) <= self._max_bytes:
            if chunk := answer.read1(64 * 1024):
                body += chunk
            elif answer.length:  # what is missing of Content-Length
                raise _Refused("the link's server must send the complete file")
            else:
                return bytes(body)
        raise _Refused(f"the linked file must not exceed {self._max_bytes} bytes")


def _parse(url: str) -> SplitResult:
    """The checked link, in ASCII. Its authority stays as spelled: a presigned link signs its Host header."""
    if len(url) > MAX_URL_CHARS or _AMBIGUOUS.search(url):
        raise _Refused(f"a link must not contain spaces, backslashes or more than {MAX_URL_CHARS} characters")
    try:
        link = urlsplit(url)
        link = link._replace(netloc=link.netloc if link.netloc.isascii() else link.netloc.encode("idna").decode())
        well_formed = link.port != 0 and _HOST.fullmatch(link.hostname or "")
    except ValueError:
        well_formed = False
    if not url.lower().startswith(("http://", "https://")):
        raise _Refused("a link must start with http:// or https://")
    if not well_formed or "@" in link.netloc:
        raise _Refused("a link must name a host, without user name or password")
    path, query = quote(link.path or "/", safe="/%:@!$&'()*+,;=~"), quote(link.query, safe="/?%:@!$&'()*+,;=~[]|")
    return link._replace(path=path, query=query)


def _ask(sock: socket.socket, link: SplitResult) -> HTTPResponse:
    connection = HTTPConnection(link.netloc)
    connection.sock = sock
    headers = {"Host": link.netloc, "User-Agent": "Framemill", "Accept": "image/*", "Connection": "close"}
    connection.request("GET", link.path + ("?" + link.query if link.query else ""), headers=headers)
    return connection.getresponse()
