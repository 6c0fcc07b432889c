"""API keys: the callers of a server, by the digests of their secrets."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from functools import lru_cache

from jobs.callers import Caller, Role, digest_of
from jobs.errors import BadSetting, Conflict, InvalidRequest, KeyNotFound
from jobs.store import keys
from jobs.store.scripts import Scripts

#: Prefix of every secret, by which people and secret scanners recognise one.
SECRET_PREFIX = "fm_"  # noqa: S105  (a prefix, not a secret)
#: Most callers that a process keeps, by the texts that describe them: every request has one.
MAX_PARSED = 32_768
#: The remedy in errors about a server without keys.
HOW_TO_MAKE_A_KEY = "make the first one on the server's host with 'python -m app.keys create NAME --role admin'"


class KeyRing:
    """The keys of a server. Every method raises Unavailable when Redis does not answer."""

    def __init__(self, store: Scripts) -> None:
        self._store = store

    def is_empty(self) -> bool:
        """Return whether the server has no keys."""
        return not self._store.call(lambda c: c.exists(keys.API_KEYS))

    def authenticate(self, secret: str) -> Caller | None:
        """Return the caller with this secret, or None."""
        return self.by_digest(digest_of(secret))

    def by_digest(self, digest: str) -> Caller | None:
        """Return the caller whose secret has this digest, or None."""
        text = self._store.call(lambda c: c.hget(keys.API_KEYS, digest))
        return _parsed(str(text)) if text else None

    def by_name(self, key_id: str) -> Caller | None:
        """Return the caller with this name, or None."""
        digest = self._store.call(lambda c: c.hget(keys.API_KEY_NAMES, key_id))
        return self.by_digest(str(digest)) if digest else None

    def create(self, caller: Caller, *, secret: str | None = None) -> str:
        """Create a key.

        Returns:
            The secret, which cannot be read later.

        Raises:
            InvalidRequest: a field is invalid.
            Conflict: the service already has a key.
        """
        caller.check()
        secret = secret or SECRET_PREFIX + secrets.token_urlsafe(32)
        if not self._store.call(lambda c: c.hsetnx(keys.API_KEY_NAMES, caller.key_id, digest_of(secret))):
            raise Conflict(f"there is a key for {caller.key_id!r}; revoke it first")
        return self._write(caller, secret)

    def _write(self, caller: Caller, secret: str) -> str:
        def write(client):  # type: ignore[no-untyped-def]
            pipe = client.pipeline()
            pipe.hset(keys.API_KEYS, digest_of(secret), json.dumps(asdict(caller)))
            pipe.hset(keys.API_KEY_NAMES, caller.key_id, digest_of(secret))
            pipe.execute()

        self._store.call(write)
        self._store.script("limit_key", key=caller.key_id, limit=caller.max_running)
        return secret

    def all(self) -> list[Caller]:
        """Return the callers of all keys, sorted by name."""
        return sorted(self._stored().values(), key=lambda caller: caller.key_id)

    def revoke(self, key_id: str) -> None:
        """Revoke the key of a service.

        The last admin key cannot be revoked, because without it nobody could operate the server. Nor can the last key
        of all, because a server without any key accepts every caller.

        Raises:
            KeyNotFound: the service has no key.
            Conflict: it is the last admin key, or the last key.
        """
        callers = self._stored()
        digests = [digest for digest, caller in callers.items() if caller.key_id == key_id]
        if not digests:
            raise KeyNotFound(f"there is no key for {key_id[:64]!r}")
        others = [caller for digest, caller in callers.items() if digest not in digests]
        if not others:
            raise Conflict("this is the last key; a server without keys accepts every caller: make another one first")
        if any(callers[digest].is_admin for digest in digests) and not any(caller.is_admin for caller in others):
            raise Conflict("this is the last admin's key: make another one first")
        self._delete(digests)
        self._store.script("limit_key", key=key_id, limit=0)
        names = (keys.API_KEY_NAMES, keys.WEBHOOKS, keys.WEBHOOK_SECRETS)
        own = [prefix + key_id for prefix in (keys.OPTIONS, keys.UPLOADS, keys.SUBSCRIBER_QUEUES)]
        self._store.call(lambda c: [c.hdel(name, key_id) for name in names] + [c.delete(*own)])

    def seed(self, entries: list[str]) -> None:
        """Store the keys of the settings, ``service:secret[:role[:class]]``; a service's earlier key is replaced.

        Raises:
            BadSetting: names the entry, but not its secret.
        """
        for caller, secret in callers_of(entries):
            self._put(caller, secret)

    def seed_services(self, entries: list[tuple[str, str]]) -> None:
        """Store the services of the settings, as ``(name, key)``.

        Their requests decide which jobs are premium and which are moderated. Several services may share a key, so the
        secret is ``name:key``.
        """
        for name, secret in entries:
            caller = Caller(key_id=name, job_class="premium", may_skip_moderation=True).check()
            self._put(caller, f"{name}:{secret}")

    def _put(self, caller: Caller, secret: str) -> None:
        """Store the key, and delete an earlier one of the service."""
        if self.authenticate(secret) != caller:
            earlier = [digest for digest, other in self._stored().items() if other.key_id == caller.key_id]
            self._write(caller, secret)
            self._delete([digest for digest in earlier if digest != digest_of(secret)])

    def _stored(self) -> dict[str, Caller]:
        texts: dict[str, str] = self._store.call(lambda c: c.hgetall(keys.API_KEYS))
        return {digest: _parsed(text) for digest, text in texts.items()}

    def _delete(self, digests: list[str]) -> None:
        if digests:
            self._store.call(lambda c: c.hdel(keys.API_KEYS, *digests))


def callers_of(entries: list[str]) -> list[tuple[Caller, str]]:
    """Return the callers of the settings' keys, with their secrets. Raises: BadSetting: as :meth:`KeyRing.seed`."""
    callers = []
    for number, entry in enumerate(entries, 1):
        name, _, rest = entry.partition(":")
        secret, *more = rest.split(":")
        if len(secret) < 16 or len(more) > 2:
            raise BadSetting(f"API_KEYS entry {number} must be service:secret[:role[:class]], secret of 16 or more")
        try:
            role = Role(more[0]) if more else Role.CLIENT
            caller = Caller(key_id=name, role=role, job_class=more[1] if len(more) > 1 else "general").check()
        except (ValueError, InvalidRequest) as exc:
            raise BadSetting(f"API_KEYS entry {number} ({name}): {exc}") from exc
        callers.append((caller, secret))
    return callers


@lru_cache(maxsize=MAX_PARSED)
def _parsed(text: str) -> Caller:
    values = json.loads(text)
    lists = {"models": tuple(values["models"]), "endpoints": tuple(values["endpoints"])}
    return Caller(**{**values, **lists, "role": Role(values["role"])})
