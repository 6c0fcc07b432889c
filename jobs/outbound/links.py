"""Links that clients send: parsing and the rules for their form."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, quote, urljoin, urlsplit

MAX_URL_CHARS = 8192  #: Presigned links with a session token reach 2 KiB.

_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,252}|[0-9a-f:.]*:[0-9a-f:.]*")
#: Characters that URL parsers interpret differently (``http://a\@b/``; tabs, which some parsers drop).
_AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")


class LinkRefused(Exception):
    """A link may not be used. The text is sent to the client, so it contains no addresses."""


def parse_link(url: str) -> SplitResult:
    """Check a link and return its parts in ASCII.

    The authority keeps its spelling, because a presigned link signs its Host header.

    Raises:
        LinkRefused: the link is not a well-formed http or https URL.
    """
    if len(url) > MAX_URL_CHARS or _AMBIGUOUS.search(url):
        raise LinkRefused(f"a link must not contain spaces, backslashes or more than {MAX_URL_CHARS} characters")
    try:
        link = urlsplit(url)
        link = link._replace(netloc=link.netloc if link.netloc.isascii() else link.netloc.encode("idna").decode())
        well_formed = link.port != 0 and _HOST.fullmatch(link.hostname or "")
    except ValueError:
        well_formed = False
    if not url.lower().startswith(("http://", "https://")):
        raise LinkRefused("a link must start with http:// or https://")
    if not well_formed or "@" in link.netloc:
        raise LinkRefused("a link must name a host, without user name or password")
    path, query = quote(link.path or "/", safe="/%:@!$&'()*+,;=~"), quote(link.query, safe="/?%:@!$&'()*+,;=~[]|")
    return link._replace(path=path, query=query)


def redirect_target(url: str, location: bytes) -> str:
    """Return the address that a ``Location`` header names, read as browsers read it.

    Text in raw UTF-8 and spaces are not allowed in the header, and common.

    Args:
        url: the address of the response.
        location: the value of the header.
    """
    try:
        target = location.decode()
    except UnicodeDecodeError:
        target = quote(location, safe="".join(map(chr, range(0x21, 0x7F))) + " ")
    return urljoin(url, target.strip(" ").replace(" ", "%20"))


def host_of(link: SplitResult) -> str:
    """Return the host in lower case, without the dot that ends a fully qualified name."""
    return str(link.hostname).removesuffix(".")


def port_of(link: SplitResult) -> int:
    return link.port or _PORTS[link.scheme]


def receiver(link: SplitResult) -> str:
    """Return ``host:port`` of a link in one spelling."""
    return f"{host_of(link)}:{port_of(link)}"
