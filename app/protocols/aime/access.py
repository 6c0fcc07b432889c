"""Who calls an endpoint: by key, or by the session of an earlier login; and how often."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from app import auth
from app.extensions import store
from app.protocols.aime.spec import Endpoint, Endpoints
from jobs.callers import ANYBODY, Caller, Role, digest_of
from jobs.errors import FramemillError
from jobs.store import keys
from jobs.store.api_keys import KeyRing

#: How long a login lasts, and what a browser's session keeps; renewed by use. Also how long requests are counted.
SESSION_S = 30 * 24 * 3600
#: Older clients know this text.
UNKNOWN_SESSION = "Client session authentication key not registered in API Server"
BAD_KEY = "Key not valid"


class Refused(FramemillError):
    """The caller may not do this."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Client:
    """A caller, and what its requests are counted under."""

    caller: Caller
    counted_as: str


def client_of(endpoints: Endpoints, endpoint: Endpoint, sent: dict[str, Any], address: str) -> Client:
    """Who sent these fields.

    Raises:
        Refused: 401 for nobody known, 402 for a key of another endpoint.
    """
    key, session = sent.get("key") or auth.secret(), sent.get("client_session_auth_key")
    if isinstance(session, str) and session:
        found = _of_session(endpoints, session)
        if found is not None:
            check_endpoint(endpoints, endpoint, *found)
            return Client(found[0], "session:" + digest_of(session))
    if isinstance(key, str) and key and key != "null":
        caller = caller_of(endpoints, key, endpoint)
        check_endpoint(endpoints, endpoint, caller, key)
        return Client(caller, f"key:{caller.key_id}" if caller.key_id != keys.NOBODY else f"address:{address}")
    if not endpoint.client_keys and (anybody := _open()):
        return Client(anybody, f"address:{address}")
    if session:
        raise Refused(UNKNOWN_SESSION, 401)
    raise Refused(f"API key is missing, and {UNKNOWN_SESSION[0].lower()}{UNKNOWN_SESSION[1:]}", 401)


def caller_of(endpoints: Endpoints, key: str, endpoint: Endpoint | None = None) -> Caller:
    """The caller with this key, of the endpoints' files or of the server. Raises: Refused."""
    if user := endpoints.client(key):
        return Caller(key_id=user)
    caller = KeyRing(store()).authenticate(key)
    if caller is not None and caller.role is not Role.WORKER:
        return caller
    keyed = endpoint.client_keys if endpoint else any(one.client_keys for one in endpoints.by_name.values())
    if caller is None and not keyed and (anybody := _open()):
        return anybody
    raise Refused(BAD_KEY, 401)


def check_endpoint(endpoints: Endpoints, endpoint: Endpoint, caller: Caller, key: str) -> None:
    """Raises: Refused: the key is right, but not for this endpoint."""
    of_files = endpoints.client(key) is not None
    if of_files and key not in endpoint.client_keys.values():
        raise Refused("Key not valid for this endpoint", 402)
    if not of_files and endpoint.client_keys and not caller.is_admin:
        raise Refused("Key not valid for this endpoint", 402)
    if caller.endpoints and not f"/{endpoint.name}".startswith(caller.endpoints):
        raise Refused("Key not valid for this endpoint", 402)
    if caller.models and endpoint.model not in caller.models:
        raise Refused("Key not valid for this endpoint", 402)


def login(endpoints: Endpoints, endpoint: Endpoint, key: str | None) -> str:
    """Begin a session. Returns its key. Raises: Refused."""
    if not endpoint.client_keys and _open() is not None and (not key or key == "null"):
        key = ""
    else:
        check_endpoint(endpoints, endpoint, caller_of(endpoints, key or "", endpoint), key or "")
    session = str(uuid.uuid4())
    name = keys.SESSION + digest_of(session)
    store().call(lambda c: c.set(name, json.dumps({"key": digest_of(key or "")}), ex=SESSION_S))
    return session


def _of_session(endpoints: Endpoints, session: str) -> tuple[Caller, str] | None:
    """The caller of a session and its key (of the files; '' otherwise), while that key is known."""
    name = keys.SESSION + digest_of(session)
    known = store().call(lambda c: c.getex(name, ex=SESSION_S))
    if not known:
        return None
    digest = json.loads(str(known))["key"]
    for endpoint in endpoints.by_name.values():
        for user, key in endpoint.client_keys.items():
            if digest_of(key) == digest:
                return Caller(key_id=user), key
    caller = KeyRing(store()).by_digest(digest)
    if caller is None and (anybody := _open()):
        return anybody, ""
    return (caller, "") if caller is not None and caller.role is not Role.WORKER else None


def count_request(endpoint: Endpoint, client: Client) -> None:
    """Count a request of a limited endpoint. Raises: Refused: 402, it is one too many."""
    if not endpoint.request_limit:
        return
    name = f"{keys.REQUESTS}{endpoint.name}:{client.counted_as}"

    def count(connection: Any) -> int:
        pipe = connection.pipeline()
        pipe.set(name, 0, ex=SESSION_S, nx=True)
        pipe.incr(name)
        return int(pipe.execute()[1])

    if store().call(count) > endpoint.request_limit:
        store().call(lambda c: c.decr(name))
        raise Refused(f"the limit of {endpoint.request_limit} requests is reached", 402)


def uncount_request(endpoint: Endpoint, client: Client) -> None:
    """The request was not accepted after all."""
    if endpoint.request_limit:
        store().call(lambda c: c.decr(f"{keys.REQUESTS}{endpoint.name}:{client.counted_as}"))


def _open() -> Caller | None:
    """Anybody, on a server without keys."""
    return ANYBODY if auth.is_open() else None
