"""Connections to Redis. A command does what the store needs, and nothing else.

redis-py's own client measures every command for OpenTelemetry, builds an object for its retries, and asks the system
before each command whether the idle connection is still open. That is more work than sending the command, and each
job needs several.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.settings import Settings
from jobs.settings.redis_address import RedisAddress
from jobs.store.connecting import primary
from jobs.store.connecting.primary import PrimaryConnection
from jobs.store.outages import refusals

T = TypeVar("T")

#: A connection may have broken while it was idle, and its next command may have to wait for a new one.
_RETRIES = 1


class Pool(redis.BlockingConnectionPool):
    """A pool that does not look at a connection before it hands it out: a broken one shows at its next command.

    A connection to a server that is not the primary any more is replaced.
    """

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Return a connection. Raises: redis.ConnectionError: all are in use, or Redis cannot be reached."""
        self._checkpid()
        try:
            connection = self.pool.get(timeout=self.timeout)
        except queue.Empty:
            raise redis.ConnectionError("No connection available.")  # noqa: B904  (the context tells it from outages)
        try:
            connection = connection or self.make_connection()  # type: ignore[no-untyped-call]
            if isinstance(connection, PrimaryConnection) and connection.is_stale:
                connection.disconnect()  # type: ignore[no-untyped-call]
            if not connection.is_connected:
                connection.connect()
        except BaseException:
            self.release(connection)
            raise
        return connection

    def release(self, connection: Any) -> None:
        """Take a connection back, which has no reply to be read any more."""
        self._checkpid()
        if connection is None or connection.pid != self.pid:  # not made, or made before this process was forked
            self.pool.put_nowait(None)
        else:
            self.pool.put_nowait(connection)


class Client(redis.Redis):
    """A client of a :class:`Pool`. A command is sent a second time if its connection has broken."""

    connection_pool: Pool

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command and return its reply. ``replicas``: wait until so many have what it wrote."""
        replicas = options.pop("replicas", 0)

        def ask(connection: Any) -> Any:
            connection.send_command(*args)
            reply = self.parse_response(connection, args[0], **options)  # type: ignore[no-untyped-call]
            if replicas:
                _await_replicas(connection, replicas)
            return reply

        return self._asked(ask)

    def hmgets(self, names: Sequence[str], fields: Sequence[str]) -> list[list[str | None]]:
        """Return the values of the same fields of many hashes, read in one round trip.

        A pipeline of redis-py takes three times as long, most of it before the commands are sent.
        """
        # The stubs of hiredis mistake the command for a tuple of one.
        packet = b"".join([hiredis.pack_command(("HMGET", name, *fields)) for name in names])  # type: ignore[arg-type]

        def ask(connection: Any) -> list[list[str | None]]:
            connection.send_packed_command([packet])
            try:
                return [connection.read_response() for _ in names]
            except redis.ResponseError:
                connection.disconnect()  # the other replies are not read any more
                raise

        return self._asked(ask) if names else []

    def _asked(self, ask: Callable[[Any], T]) -> T:
        """Return what ``ask`` returns for a connection, after a second try if the first one has broken."""
        pool = self.connection_pool
        connection = pool.get_connection()
        try:
            for tries_left in reversed(range(_RETRIES + 1)):
                try:
                    return ask(connection)
                except redis.ConnectionError:
                    connection.disconnect()
                    if not tries_left:
                        raise
            raise AssertionError("unreachable")
        finally:
            pool.release(connection)


def _await_replicas(connection: Any, replicas: int) -> None:
    """Wait until replicas have everything that was written before. Raises: refusals.TooFewReplicas."""
    timeout_ms = int(connection.socket_timeout * 500)  # the reply must come before the connection is given up
    connection.send_command("WAIT", replicas, timeout_ms)
    if (count := connection.read_response()) < replicas:
        raise refusals.TooFewReplicas(f"{count} of {replicas}")


def connect(settings: Settings, *, timeout_s: float | None = None, protocol: int = 3) -> redis.Redis:
    """A client with a connection pool; every reply comes within ``timeout_s`` (default ``REDIS_TIMEOUT_S``).

    While all ``REDIS_CONNECTIONS`` are in use, a call waits for one, at most ``REDIS_CONNECTION_WAIT_S``. A call is
    retried once and without a pause, for a connection that broke while it was idle in the pool. The scripts answer a
    repeated call as they answered the first one.

    ``protocol``: version of RESP. redis-py formats each message of a subscription for its log in version 3.
    """
    timeout_s = timeout_s or settings.redis.timeout_s
    pool = Pool(  # type: ignore[no-untyped-call]
        max_connections=settings.redis.connections,
        timeout=settings.redis.connection_wait_s,
        decode_responses=True,
        protocol=protocol,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), _RETRIES, supported_errors=(redis.ConnectionError,)),
        **_way_to(settings.redis_address, timeout_s),
    )
    return Client.from_pool(pool)


def _way_to(address: RedisAddress, timeout_s: float) -> dict[str, Any]:
    """Return redis-py's options that lead to the server."""
    options: dict[str, Any] = address.login
    if not address.hosts:
        return options | {"connection_class": redis.UnixDomainSocketConnection, "path": address.path}
    options |= {"socket_connect_timeout": timeout_s, **(address.tls or {})}
    if address.service:
        return options | primary.options_of(address)
    host, port = address.hosts[0]
    kind = redis.Connection if address.tls is None else redis.SSLConnection
    return options | {"connection_class": kind, "host": host, "port": port}
