"""Connections to the primary that Sentinels name. A failover moves each connection when it is used next."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from jobs.settings.redis_address import Host, RedisAddress
from jobs.store.outages import refusals

#: Longest wait for one Sentinel, seconds; then the next one is asked.
SENTINEL_TIMEOUT_S = 1.0


class Primary:
    """Asks the Sentinels where the primary is. Safe to share between threads and greenlets."""

    def __init__(self, address: RedisAddress) -> None:
        options: dict[str, Any] = {
            "socket_timeout": SENTINEL_TIMEOUT_S,
            "socket_connect_timeout": SENTINEL_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            "decode_responses": True,
            **address.sentinel_login,
        }
        self._service = address.service
        self._sentinels: Any = Sentinel(address.hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        #: Where the primary was when it was asked for last.
        self.found: Host | None = None

    def find(self) -> Host:
        """Return host and port of the primary. Raises: redis.ConnectionError: no Sentinel knows one."""
        self.found = self._sentinels.discover_master(self._service)
        return self.found

    def services(self) -> tuple[set[str], str]:
        """Return the services that the Sentinels know, and why one refuses to say it ('' if none does)."""
        names: set[str] = set()
        for sentinel in self._sentinels.sentinels:
            try:
                names |= set(sentinel.sentinel_masters())
            except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as exc:
                return names, str(exc)
            except redis.RedisError:
                pass
        return names, ""


class PrimaryConnection(redis.Connection):
    """A connection to the primary."""

    def __init__(self, *, primary: Primary, **options: Any) -> None:
        self._primary = primary
        super().__init__(**options)  # type: ignore[no-untyped-call]

    @property
    def is_stale(self) -> bool:
        """Whether another server is the primary by now, as far as this process has heard."""
        return (self.host, self.port) != self._primary.found

    def _connect(self) -> Any:
        self.host, self.port = self._primary.find()
        return super()._connect()  # type: ignore[no-untyped-call]

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Log in, and make sure that this is the primary: a Sentinel may not have heard of a failover yet."""
        super().on_connect_check_health(check_health)
        self.send_command("ROLE", check_health=False)  # type: ignore[no-untyped-call]
        if self.read_response()[0] not in (b"master", "master"):
            raise redis.ConnectionError("the server that the Sentinels name is not the primary")

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read a reply. A primary that became a replica has refused the command: it is as good as not sent."""
        try:
            return super().read_response(*args, **options)
        except redis.ResponseError as exc:
            if not refusals.is_of_replica(exc):
                raise
            self.disconnect()  # type: ignore[no-untyped-call]
            raise redis.ConnectionError(str(exc)) from exc


class PrimaryTLSConnection(PrimaryConnection, redis.SSLConnection):
    """The same, encrypted."""


def options_of(address: RedisAddress) -> dict[str, Any]:
    """Return redis-py's options of connections to the primary."""
    kind = PrimaryConnection if address.tls is None else PrimaryTLSConnection
    return {"connection_class": kind, "primary": Primary(address)}
