"""The address of Redis: ``REDIS_URL`` read once, for every library that connects to it.

Messages never contain the address, which may have a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode, urlsplit

from marshmallow import ValidationError

_ENCODE = "have special characters in its password percent-encoded, such as %23 for # and %2F for /"
_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "sentinels": 26379}
#: Schemes whose connections are encrypted.
_ENCRYPTED = ("rediss", "sentinels")
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<name>[^:@\[\]\s]+))(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS = ("ssl_cert_reqs", "ssl_check_hostname", *_TLS_FILES)
_SENTINEL = ("service", "sentinel_username", "sentinel_password")
_REQUIREMENTS = ("required", "optional", "none")

Host = tuple[str, int]


@dataclass(frozen=True)
class RedisAddress:
    """Where Redis is, and how to be let in."""

    #: The server, or the Sentinels that know it. Empty: a Unix socket.
    hosts: tuple[Host, ...] = ()
    #: The Unix socket.
    path: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    #: The name by which the Sentinels know the primary. Empty: there are no Sentinels.
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    #: redis-py's options of a TLS connection, to the Sentinels as well. None: not encrypted.
    tls: dict[str, Any] | None = None

    @classmethod
    def of_socket(cls, path: Path) -> RedisAddress:
        """Return the address of a server without a password on a Unix socket."""
        return cls(path=str(path))

    @classmethod
    def from_url(cls, url: str) -> RedisAddress:
        """Read an address. Raises: ValidationError: the message completes "REDIS_URL must …"."""
        scheme = url.partition("://")[0]
        if scheme not in ("unix", *_PORTS):
            raise ValidationError("start with redis://, rediss:// (TLS), sentinel://, sentinels:// (TLS) or unix://")
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValidationError(f"be redis://[[user]:password@]host:port/db, and {_ENCODE}") from None
        if parts.fragment:
            raise ValidationError(_ENCODE)
        query = _query(scheme, parts.query)
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        common: dict[str, Any] = {"username": unquote(username) or None, "password": unquote(password) or None}
        if scheme == "unix":
            if hosts or not parts.path.startswith("/"):
                raise ValidationError("name a socket, such as unix:///run/redis/redis.sock")
            return cls(path=unquote(parts.path), db=_db(query.get("db", "")), **common)
        return cls(
            hosts=_hosts(scheme, hosts),
            db=_db(_path_of(parts) or query.get("db", "")),
            service=_service(query) if scheme.startswith("sentinel") else "",
            sentinel_username=query.get("sentinel_username") or None,
            sentinel_password=query.get("sentinel_password") or None,
            tls=_tls(query) if scheme in _ENCRYPTED else None,
            **common,
        )

    @property
    def login(self) -> dict[str, Any]:
        """redis-py's options of a login at the server, without those that are not set."""
        given = {"username": self.username, "password": self.password, "db": self.db}
        return {name: value for name, value in given.items() if value}

    @property
    def sentinel_login(self) -> dict[str, Any]:
        """redis-py's options of a client of a Sentinel."""
        given = {"username": self.sentinel_username, "password": self.sentinel_password}
        tls = {"ssl": True, **self.tls} if self.tls is not None else {}
        return {name: value for name, value in given.items() if value} | tls

    @property
    def broker_url(self) -> str:
        """The address as kombu takes it. What it has no room for is in the options of the broker (celeryconfig.py)."""
        login = f"{quote(self.username or '', safe='')}:{quote(self.password or '', safe='')}@"
        login = "" if login == ":@" else login
        if not self.hosts:
            return f"redis+socket://{login}{quote(self.path)}" + (f"?virtual_host={self.db}" if self.db else "")
        host, port = self.hosts[0]
        at = f"{login}{f'[{host}]' if ':' in host else host}:{port}/{self.db}"
        if self.service:
            return f"sentinel://{at}"
        # kombu takes the TLS options of a copy of the address from its query.
        return f"redis://{at}" if self.tls is None else f"rediss://{at}?{urlencode(self.tls)}"

    def unreadable_file(self) -> str:
        """Say which file of the TLS options cannot be read; '' if all can."""
        named = {name: path for name, path in (self.tls or {}).items() if name in _TLS_FILES}
        for name, path in named.items():
            try:
                with open(path, "rb"):
                    pass
            except OSError as exc:
                return f"{name} {path} cannot be read: {exc.strerror}"
        return ""


def check_redis_url(url: str) -> None:
    """Raises: ValidationError: the message completes "REDIS_URL must …"."""
    if url:
        RedisAddress.from_url(url)


def _query(scheme: str, text: str) -> dict[str, str]:
    allowed = ["db", *(_TLS if scheme in _ENCRYPTED else ()), *(_SENTINEL if scheme.startswith("sentinel") else ())]
    query = {name: values[-1] for name, values in parse_qs(text.replace("+", "%2B"), keep_blank_values=True).items()}
    for name in query:
        if name not in allowed:
            # Another name may be a part of a password.
            what = f"not {name}" if name in (*_TLS, *_SENTINEL) else f"and {_ENCODE}"
            raise ValidationError(f"have nothing but {', '.join(allowed)} behind the ? of {scheme}://, {what}")
    return query


def _hosts(scheme: str, text: str) -> tuple[Host, ...]:
    found = []
    for each in text.split(",") if text else ():
        match = _HOST.fullmatch(each)
        if match is None or int(match["port"] or 0) > 65_535:
            raise ValidationError(f"be {scheme}://[[user]:password@]host:port/db, and {_ENCODE}")
        found.append((match["ipv6"] or unquote(match["name"]), int(match["port"] or _PORTS[scheme])))
    if not found:
        raise ValidationError(f"name a host: {scheme}://[[user]:password@]host:port/db")
    if len(found) > 1 and not scheme.startswith("sentinel"):
        raise ValidationError("name one host; several Sentinels are sentinel://host:port,host:port/db?service=NAME")
    return tuple(found)


def _path_of(parts: SplitResult) -> str:
    if not re.fullmatch(r"/?|/[0-9]{1,4}", parts.path):
        raise ValidationError(f"end in the number of a database, such as /0, and {_ENCODE}")
    return parts.path.removeprefix("/")


def _db(text: str) -> int:
    if not re.fullmatch(r"[0-9]{0,4}", text, re.ASCII):
        raise ValidationError("have a number as its database")
    return int(text or 0)


def _service(query: dict[str, str]) -> str:
    if not query.get("service"):
        raise ValidationError("end in ?service=NAME, by which the Sentinels know the primary, such as mymaster")
    return query["service"]


def _tls(query: dict[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {name: query[name] for name in _TLS_FILES if query.get(name)}
    options["ssl_cert_reqs"] = query.get("ssl_cert_reqs") or "required"
    if options["ssl_cert_reqs"] not in _REQUIREMENTS:
        raise ValidationError(f"have ssl_cert_reqs={' or '.join(_REQUIREMENTS)}")
    if query.get("ssl_check_hostname", "true") not in ("true", "false"):
        raise ValidationError("have ssl_check_hostname=true or false")
    # A certificate that is not asked for has no name that could be checked.
    options["ssl_check_hostname"] = (
        query.get("ssl_check_hostname", "true") == "true" and options["ssl_cert_reqs"] != "none"
    )
    if ("ssl_keyfile" in options) and "ssl_certfile" not in options:
        raise ValidationError("have ssl_certfile, the certificate that belongs to ssl_keyfile")
    return options
