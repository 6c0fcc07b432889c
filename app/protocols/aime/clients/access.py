"""Who calls an endpoint: by key, or by the session of an earlier login; and how often."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from app import auth
from app.extensions import store
from app.protocols.aime.endpoints.spec import Endpoint, Endpoints
from jobs.callers import ANYBODY, NOBODY, Caller, Role, digest_of
from jobs.errors import FramemillError
from jobs.store.api_keys import KeyRing
from jobs.store.client_state import LoginSessions, RequestCounters

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
        return Client(caller, f"key:{caller.key_id}" if caller.key_id != NOBODY else f"address:{address}")
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
    LoginSessions(store()).open(session, key or "")
    return session


def _of_session(endpoints: Endpoints, session: str) -> tuple[Caller, str] | None:
    """The caller of a session and its key (of the files; '' otherwise), while that key is known."""
    digest = LoginSessions(store()).key_digest(session)
    if digest is None:
        return None
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
    if RequestCounters(store()).increment(endpoint.name, client.counted_as) > endpoint.request_limit:
        uncount_request(endpoint, client)
        raise Refused(f"the limit of {endpoint.request_limit} requests is reached", 402)


def uncount_request(endpoint: Endpoint, client: Client) -> None:
    """The request was not accepted after all."""
    if endpoint.request_limit:
        RequestCounters(store()).decrement(endpoint.name, client.counted_as)


def _open() -> Caller | None:
    """Anybody, on a server without keys."""
    return ANYBODY if auth.is_open() else None
