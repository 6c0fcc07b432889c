"""Which host a request names, and from which page it comes, by the headers that pages cannot set.

Browsers send ``Sec-Fetch-Site`` to ``https`` addresses and to loopback, and ``Origin`` with everything but a simple
``GET``. Programs send neither, and are never refused here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Self
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from jobs.settings import Settings
from jobs.settings.web import hosts_of

#: Stands for every origin in ``CORS_ORIGINS``.
ANY = "*"
#: The origin of a page that has none: a sandboxed frame, a ``data:`` address, a local file.
OPAQUE = "null"

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::\d{1,5})?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class Origins:
    """The hosts and origins that a server accepts."""

    #: Host names beside those of loopback.
    hosts: frozenset[str]
    #: Origins of other servers whose pages may use this one, or :data:`ANY`.
    allowed: frozenset[str]
    #: The origin of this server as others reach it; '' if no setting names it.
    own: str = ""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return those of the settings: the names in ``HOST`` and ``PUBLIC_URL`` need not be repeated."""
        web = settings.web
        public = urlsplit(web.public_url.lower())
        names = hosts_of(web.allowed_hosts) | {web.host.lower(), public.hostname or ""}
        return cls(names - {""}, web.origins, f"{public.scheme}://{public.netloc}" if public.netloc else "")

    def accepts_host(self, host: str | None) -> bool:
        """Return whether a ``Host`` header names this server. None: a program of HTTP/1.0 sent no header."""
        if host is None:
            return True
        name = _name(host)
        return name in self.hosts or _is_loopback(name)

    def allowed_origin(self, headers: Headers) -> str:
        """Return the origin of the page that sent a request if ``CORS_ORIGINS`` allows it, else ''."""
        origin = headers.get("Origin", "") or _origin_of_link(headers.get("Referer", ""))
        return origin if ANY in self.allowed or origin.lower() in self.allowed else ""

    def is_foreign(self, headers: Headers) -> bool:
        """Return whether a page of another origin sent a request that ``CORS_ORIGINS`` does not allow."""
        if ANY in self.allowed or self.allowed_origin(headers):
            return False
        site, origin = headers.get("Sec-Fetch-Site", ""), headers.get("Origin", "").lower()
        if site in ("cross-site", "same-site") or origin == OPAQUE:
            return True
        # The browser compared the origins itself; a proxy may have changed the host.
        return bool(origin) and site != "same-origin" and not self._is_own(origin, headers.get("Host", ""))

    def is_own_page(self, headers: Headers, *, changes: bool) -> bool:
        """Return whether a page of this server sent a request, or its user by the address bar.

        Browsers that send no ``Sec-Fetch-Site`` name the origin of requests that may change something.
        """
        site, origin = headers.get("Sec-Fetch-Site", ""), headers.get("Origin", "").lower()
        if site:
            return site in ("same-origin", "none")
        return self._is_own(origin, headers.get("Host", "")) if origin else not changes

    def _is_own(self, origin: str, host: str) -> bool:
        """Return whether an origin is this server's. The scheme is unknown here: a proxy may add TLS."""
        scheme, _, authority = origin.partition("://")
        port = _DEFAULT_PORTS.get(scheme, ":")
        return origin == self.own or authority.removesuffix(port) == host.lower().removesuffix(port) != ""


@lru_cache(maxsize=64)
def _name(host: str) -> str:
    """Return the name in a ``Host`` header, without port and in lower case; '' if the header is malformed."""
    match = _AUTHORITY.fullmatch(host.strip().lower())
    return (match[1] or match[2]).removesuffix(".") if match else ""


@lru_cache(maxsize=64)
def _is_loopback(name: str) -> bool:
    """Return whether a host name always means this machine: no name server is asked for it."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return address.is_loopback


def _origin_of_link(link: str) -> str:
    """Return the origin of an address, '' for none. Browsers name it for pictures, which have no ``Origin``."""
    match = re.match(r"[a-z][a-z0-9+.-]*://[^/?#\s]+", link.lower())
    return match[0] if match else ""
