"""What a trusted reverse proxy says about a request: the client's address, and the address that the client called.

Only the header fields of a connection from one of ``TRUSTED_PROXIES`` count, and of each field only what the proxy
itself has added: the last value. ``X-Forwarded-For`` is read from its end, past further trusted proxies, to the first
address that is none. [docs/decisions/0063](../../docs/decisions/0063-reverse-proxies.md) has the reasons.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from flask import Flask

from jobs.settings import Settings
from jobs.settings.web import Address, Network

Environ = dict[str, Any]

_SCHEMES = ("http", "https")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
#: Segments of letters, digits and a few marks, none of which is ``.`` or ``..``. Never a second server: ``//host``.
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+")
#: An address, which some proxies send with a port.
_NODE = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d{1,5})?|([0-9.]+):\d{1,5}|([0-9a-fA-F:.]+)")


def register(app: Flask, settings: Settings) -> None:
    """Apply the header fields of trusted proxies before anything else reads a request."""
    trusted = settings.web.proxies
    if not trusted:
        return
    inner = app.wsgi_app

    def forwarded(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        if _is_trusted(_address(environ.get("REMOTE_ADDR", "")), trusted):
            _apply(environ, trusted)
        return inner(environ, start_response)

    app.wsgi_app = forwarded  # type: ignore[method-assign]


def _apply(environ: Environ, trusted: tuple[Network, ...]) -> None:
    environ["REMOTE_ADDR"] = _client(environ, trusted)
    scheme = _last(environ, "HTTP_X_FORWARDED_PROTO").lower()
    if scheme in _SCHEMES:
        environ["wsgi.url_scheme"] = scheme
    host = _last(environ, "HTTP_X_FORWARDED_HOST")
    if _HOST.fullmatch(host):
        environ["HTTP_HOST"] = host
    prefix = _last(environ, "HTTP_X_FORWARDED_PREFIX").rstrip("/")
    if _PREFIX.fullmatch(prefix):
        environ["SCRIPT_NAME"] = prefix


def _last(environ: Environ, name: str) -> str:
    """Return the last value of a field; the values before it are those that the proxy was sent."""
    return str(environ.get(name, "")).rpartition(",")[2].strip()


def _client(environ: Environ, trusted: tuple[Network, ...]) -> str:
    """Return the address of the client: the last one that no trusted proxy has."""
    client = str(environ["REMOTE_ADDR"])
    for entry in reversed(str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")):
        address = _address(entry)
        if address is None:
            break
        client = str(address)
        if not _is_trusted(address, trusted):
            break
    return client


@lru_cache(maxsize=1024)
def _address(text: str) -> Address | None:
    """Return the address in a text; None if it is none."""
    match = _NODE.fullmatch(text.strip())
    try:
        address = ipaddress.ip_address(match[1] or match[2] or match[3]) if match else None
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=1024)
def _is_trusted(address: Address | None, trusted: tuple[Network, ...]) -> bool:
    return address is not None and any(address in network for network in trusted)
