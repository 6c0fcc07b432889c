"""The Lua scripts of ``jobs/store/lua`` on one Redis: what every part of the store calls them through."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs.errors import Unavailable
from jobs.settings import Settings
from jobs.store import keys

LUA_DIR = Path(__file__).parent / "lua"

#: A preview goes this long after the last one of its job, if the job has not ended before, seconds: a step of a large
#: video and its decoding may take minutes.
PREVIEW_TTL_S = 300
#: Messages that wait for a socket; older ones are dropped.
MAILBOX_LENGTH = 10_000
#: Put before every script, in this order.
_SHARED = ("lib", "hooks", "mail", "queue", "files", "life", "forecast_lib", "room_lib")

T = TypeVar("T")


@cache
def _source(name: str) -> str:
    folder = LUA_DIR / "include" if name in _SHARED else LUA_DIR
    return (folder / f"{name}.lua").read_text(encoding="utf-8")


def connect(settings: Settings, *, timeout_s: float | None = None) -> redis.Redis:
    """A client with a pool; every call ends within ``timeout_s`` (default ``REDIS_TIMEOUT_S``).

    One retry without a pause: it covers a connection that died while it lay in the pool, no more. The
    scripts answer a repeat as they answered the first call.
    """
    timeout_s = timeout_s or settings.redis_timeout_s
    options: dict[str, Any] = {} if settings.store_url.startswith("unix://") else {"socket_connect_timeout": timeout_s}
    return redis.Redis.from_url(
        settings.store_url,
        decode_responses=True,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **options,
    )


class Scripts:
    """Calls scripts. Safe to share between threads and greenlets; make a new one after a fork.

    ``message`` is what a slot's worker is sent (:mod:`tasks.message`); without one nothing is sent.
    Every method raises :class:`~jobs.errors.Unavailable` when Redis does not answer in time.
    """

    def __init__(self, settings: Settings, client: redis.Redis | None = None, *, message: str = "") -> None:
        self.settings = settings
        self.client = client or connect(settings)
        limits = {
            "result_ttl_ms": settings.result_ttl_s * 1000,
            "max_attempts": settings.max_attempts,
            "lease_ms": settings.slot_lease_s * 1000,
            "resend_after_ms": settings.resend_after_s * 1000,
            "delivery_lease_ms": settings.delivery_lease_s * 1000,
            "node_grace_ms": settings.node_grace_s * 1000,
            "affinity_ms": settings.affinity_s * 1000,
            "affinity_places": settings.affinity_places,
            "idempotency_ttl_ms": settings.idempotency_ttl_s * 1000,
            "event_log_length": settings.event_log_length,
            "mailbox_length": MAILBOX_LENGTH,
            "preview_ttl_ms": PREVIEW_TTL_S * 1000,
            "files_grace_ms": settings.unused_files_grace_s * 1000,
        }
        table = ", ".join(f"{name} = {value:.0f}" for name, value in limits.items())
        weights = ", ".join(f"{name} = {weight:g}" for name, weight in settings.class_weights.items())
        kept = ", ".join(f"{name} = {length_s * 1000:.0f}" for name, length_s in settings.retention_s.items())
        head = keys.lua_table() + f"local CFG = {{{table}, weights = {{{weights}}}, retention_ms = {{{kept}}}}}\n"
        head += f"local MESSAGE = [==[{message}]==]\n"
        head += "".join(_source(name) for name in _SHARED)
        self._scripts: dict[str, Any] = {
            path.stem: self.client.register_script(head + _source(path.stem))
            for path in LUA_DIR.glob("*.lua")
        }

    def call(self, reader: Callable[[Any], T]) -> T:
        """Run ``reader`` with the client, Redis' errors turned into ours."""
        try:
            return reader(self.client)
        except (redis.ConnectionError, redis.TimeoutError) as exc:
            raise Unavailable("the job store does not answer") from exc

    def script(self, name: str, *args: Any) -> Any:
        """What a script of ``jobs/store/lua`` answers."""
        return self.call(lambda _client: self._scripts[name](args=args))

    def until_written(self, write: Callable[[], T], *, pause_s: float = 0.5) -> T:
        """Repeat a write until Redis answers: for what must not be lost, in a worker."""
        while True:
            try:
                return write()
            except Unavailable:
                time.sleep(pause_s)
                pause_s = min(5.0, pause_s * 2)


def flat(fields: Mapping[str, Any]) -> list[Any]:
    """Names and values in turn, as scripts take them."""
    return [part for pair in fields.items() for part in pair]
