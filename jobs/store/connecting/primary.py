"""Connections to the primary that Sentinels name. A failover moves each connection when it is used next."""

from __future__ import annotations

from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from jobs.settings.redis_address import RedisAddress

#: Longest wait for one Sentinel, seconds; then the next one is asked.
SENTINEL_TIMEOUT_S = 1.0


class Primary:
    """Asks the Sentinels where the primary is. Safe to share between threads and greenlets."""

    # What redis-py's connections read of a pool.
    is_master = True
    check_connection = False

    def __init__(self, address: RedisAddress) -> None:
        self._service = address.service
        self._sentinels = sentinels(address)
        #: Host and port of the primary as it was found last.
        self.found: tuple[str, int] | None = None

    def get_master_address(self) -> tuple[str, int]:
        """Return host and port of the primary. Raises: redis.ConnectionError: no Sentinel knows one."""
        self.found = self._sentinels.discover_master(self._service)
        return self.found


class PrimaryConnection(SentinelManagedConnection):
    """A connection to the primary."""

    def on_connect_check_health(self, check_health: bool = True) -> None:
        """Log in, and make sure that this is the primary: a Sentinel may not have heard of a failover yet."""
        super().on_connect_check_health(check_health)  # type: ignore[no-untyped-call]
        self.send_command("ROLE", check_health=check_health)
        role = self.read_response()[0]
        if role not in (b"master", "master"):
            raise redis.ConnectionError("the server that the Sentinels name is not the primary")


class PrimaryTLSConnection(PrimaryConnection, redis.SSLConnection):
    """The same, encrypted."""


def connection_class(address: RedisAddress) -> type[PrimaryConnection]:
    """Return the class of connections to the primary."""
    return PrimaryConnection if address.tls is None else PrimaryTLSConnection


def sentinels(address: RedisAddress) -> Sentinel:
    """Return a client of all Sentinels."""
    options: dict[str, Any] = {
        "socket_timeout": SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": SENTINEL_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        "decode_responses": True,
        **address.sentinel_login,
    }
    return Sentinel(address.hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]


def pool(address: RedisAddress, options: dict[str, Any]) -> SentinelConnectionPool:
    """Return redis-py's pool of connections to the primary with these options: for Celery's transport."""
    return SentinelConnectionPool(address.service, sentinels(address), **options)  # type: ignore[no-untyped-call]
