"""The secret that signs links: one for an installation, shared through Redis, or set by the operator."""

from __future__ import annotations

import secrets
import time
from functools import lru_cache

from jobs.store import keys
from jobs.store.scripts import Scripts

#: A new secret takes effect within this time, seconds.
REREAD_S = 5


def secrets_of(store: Scripts) -> tuple[str, ...]:
    """Return the secrets whose signatures are valid. The first one signs. Raises: Unavailable."""
    return store.settings.access.link_secrets or _in_redis(store, int(time.monotonic() // REREAD_S))


def renew(store: Scripts) -> None:
    """Make a new secret: no link that was signed before is valid any more. Raises: Unavailable."""
    store.call(lambda client: client.set(keys.LINK_SECRET, _new()))
    changed()


def changed() -> None:
    """Look the secret up again at the next link of this process."""
    _in_redis.cache_clear()


@lru_cache(maxsize=8)
def _in_redis(store: Scripts, period: int) -> tuple[str, ...]:
    """Return the secret of the installation, looked up once per ``period``; it is made at the first use."""
    found = store.call(lambda client: client.get(keys.LINK_SECRET))
    if not found:
        store.call(lambda client: client.set(keys.LINK_SECRET, _new(), nx=True))
        found = store.call(lambda client: client.get(keys.LINK_SECRET))
    return (str(found),)


def _new() -> str:
    return secrets.token_urlsafe(32)
