"""State that servers of other protocols keep for their clients and workers.

Logins, request counts, session variables, options, and how workers described themselves.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

from jobs.callers import digest_of
from jobs.errors import StoreRefuses
from jobs.store import keys
from jobs.store.scripts import Scripts

#: Lifetime of a login, of session variables and of a worker's description, renewed by use; also the period in which
#: requests are counted, in seconds.
SESSION_TTL_S = 30 * 24 * 3600


def _renewed(store: Scripts, name: str) -> str:
    """Return a text that is kept for ``SESSION_TTL_S`` after its last use; '' if there is none."""
    try:
        text = store.call(lambda c: c.getex(name, ex=SESSION_TTL_S))
    except StoreRefuses:  # what cannot be renewed now is still valid
        text = store.call(lambda c: c.get(name))
    return str(text or "")


class LoginSessions:
    """Logins of clients that then send a session key instead of their API key. Only digests are stored."""

    def __init__(self, store: Scripts) -> None:
        self._store = store

    def open(self, session: str, api_key: str) -> None:
        """Store a login with this API key ('' for none)."""
        text = json.dumps({"key": digest_of(api_key)})
        self._store.call(lambda c: c.set(self._name(session), text, ex=SESSION_TTL_S))

    def key_digest(self, session: str) -> str | None:
        """Return the digest of the API key that the session was opened with and renew the session; None: unknown."""
        text = _renewed(self._store, self._name(session))
        return str(json.loads(text)["key"]) if text else None

    def _name(self, session: str) -> str:
        return keys.SESSION + digest_of(session)


class RequestCounters:
    """Numbers of requests that a client has sent to an endpoint with a request limit."""

    def __init__(self, store: Scripts) -> None:
        self._store = store

    def increment(self, endpoint: str, client: str) -> int:
        """Count one request; return the number with it."""

        return self._add(endpoint, client, 1)

    def decrement(self, endpoint: str, client: str) -> None:
        """Take one request back that was not accepted."""
        self._add(endpoint, client, -1)

    def _add(self, endpoint: str, client: str, number: int) -> int:
        def count(connection: Any) -> int:
            name = self._name(endpoint, client)
            pipe = connection.pipeline()
            pipe.set(name, 0, ex=SESSION_TTL_S, nx=True)  # a number that has expired begins anew, and expires, too
            pipe.incrby(name, number)
            return int(pipe.execute()[1])

        return self._store.call(count)

    def _name(self, endpoint: str, client: str) -> str:
        return f"{keys.REQUESTS}{endpoint}:{client}"


class SessionVariables:
    """Values that a browser's session carries from one job to the next, by its cookie."""

    def __init__(self, store: Scripts, cookie: str) -> None:
        self._store = store
        self._name = keys.SESSION_VARS + digest_of(cookie)

    def read(self) -> dict[str, Any]:
        """Return all values by name."""
        texts: dict[str, str] = self._store.call(lambda c: c.hgetall(self._name))
        return {name: json.loads(text) for name, text in texts.items()}

    def update(self, values: Mapping[str, Any], job_id: str, kept_s: float) -> None:
        """Set the values that the result of a job has, and renew the session.

        A result that is read again within ``kept_s`` changes nothing: newer jobs may have set the values since.
        """
        texts = {name: json.dumps(value) for name, value in values.items()}
        added = f"{self._name}:{job_id}"

        def add(connection: Any) -> None:
            if connection.exists(added):
                return
            pipe = connection.pipeline()
            pipe.hset(self._name, mapping=texts)
            pipe.expire(self._name, SESSION_TTL_S)
            pipe.set(added, 1, ex=max(1, math.ceil(kept_s)))
            pipe.execute()

        self._store.call(add)


class WorkerFacts:
    """How a worker over HTTP described itself, by the name of its first slot; kept while it has no slot."""

    def __init__(self, store: Scripts, slot: str) -> None:
        self._store, self._name = store, keys.WORKER + slot

    def read(self) -> dict[str, Any] | None:
        """Return the description and renew it; None: the worker is unknown."""
        text = _renewed(self._store, self._name)
        return dict(json.loads(text)) if text else None

    def write(self, facts: Mapping[str, Any]) -> None:
        """Set the description."""
        self._store.call(lambda c: c.set(self._name, json.dumps(facts), ex=SESSION_TTL_S))


class ClientOptions:
    """Options that an AUTOMATIC1111 client has set for its API key."""

    def __init__(self, store: Scripts, key_id: str) -> None:
        self._store = store
        self._name = keys.OPTIONS + key_id

    def all(self) -> dict[str, Any]:
        """Return every option that was set, by name."""
        texts: dict[str, str] = self._store.call(lambda c: c.hgetall(self._name))
        return {name: json.loads(text) for name, text in texts.items()}

    def get(self, name: str) -> Any:
        """Return one option; None when it was not set."""
        text = self._store.call(lambda c: c.hget(self._name, name))
        return json.loads(str(text)) if text else None

    def update(self, values: Mapping[str, Any]) -> None:
        """Set these options."""
        texts = {name: json.dumps(value) for name, value in values.items()}
        self._store.call(lambda c: c.hset(self._name, mapping=texts))


class UploadedFiles:
    """Files that a client of Replicate's API has uploaded with its key, by their ids, until they expire."""

    #: Most files of one key; the oldest are forgotten.
    MAX_FILES = 1000

    def __init__(self, store: Scripts, key_id: str) -> None:
        self._store = store
        self._name = keys.UPLOADS + key_id

    def add(self, file_id: str, record: Mapping[str, Any], kept_s: float) -> None:
        """Keep what is known of a file; ``record`` has ``created_at_ms`` and ``expires_at_ms``."""
        files = self.all()
        kept = sorted(files, key=lambda name: files[name]["created_at_ms"])[-self.MAX_FILES + 1 :]
        forgotten = files.keys() - kept

        def add(connection: Any) -> None:
            pipe = connection.pipeline()
            if forgotten:
                pipe.hdel(self._name, *forgotten)
            pipe.hset(self._name, file_id, json.dumps(record))
            pipe.expire(self._name, max(1, math.ceil(kept_s)))
            pipe.execute()

        self._store.call(add)

    def get(self, file_id: str) -> dict[str, Any] | None:
        """Return what is known of a file; None if it is unknown or has expired."""
        text = self._store.call(lambda c: c.hget(self._name, file_id))
        record = json.loads(str(text)) if text else None
        return record if record and record["expires_at_ms"] > time.time() * 1000 else None

    def all(self) -> dict[str, dict[str, Any]]:
        """Return all files by their ids."""
        texts: dict[str, str] = self._store.call(lambda c: c.hgetall(self._name))
        now_ms, files = time.time() * 1000, {name: json.loads(text) for name, text in texts.items()}
        return {name: record for name, record in files.items() if record["expires_at_ms"] > now_ms}

    def remove(self, file_id: str) -> bool:
        """Forget a file; return whether it was known."""
        return bool(self._store.call(lambda c: c.hdel(self._name, file_id)))
