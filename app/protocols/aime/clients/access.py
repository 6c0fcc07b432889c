"""Authenticate the callers of endpoints, by key or by the session of an earlier login, and limit their requests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.access import auth
from app.extensions import store
from app.protocols.aime.endpoints.spec import Endpoint, Endpoints
from jobs.callers import ANYBODY, ENDPOINT_FILES, NOBODY, Caller, digest_of, identity_of
from jobs.errors import FramemillError
from jobs.store.client_state import LoginSessions, RequestCounters
from jobs.store.credentials.api_keys import KeyRing

#: Texts that older clients compare.
UNKNOWN_SESSION = "Client session authentication key not registered in API Server"
BAD_KEY = "Key not valid"


class AccessDenied(FramemillError):
    """The caller may not do this.

    Attributes:
        status: the HTTP status of the response.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Client:
    """A caller, and the name under which its requests are counted."""

    caller: Caller
    counter: str


def authenticate(endpoints: Endpoints, endpoint: Endpoint, fields: Mapping[str, Any], address: str) -> Client:
    """Return the client that sent these fields from this address.

    Raises:
        AccessDenied: 401 for an unknown caller, 402 for a key of another endpoint.
    """
    key, session = fields.get("key") or auth.secret(), fields.get("client_session_auth_key")
    if isinstance(session, str) and session:
        login_caller = _caller_of_session(endpoints, session)
        if login_caller is not None:
            check_endpoint(endpoints, endpoint, *login_caller)
            return Client(login_caller[0], "session:" + digest_of(session))
    if isinstance(key, str) and key and key != "null":
        caller = caller_of_key(endpoints, key, endpoint)
        check_endpoint(endpoints, endpoint, caller, key)
        return Client(caller, f"key:{caller.key_id}" if caller.key_id != NOBODY else f"address:{address}")
    if not endpoint.client_keys and (anybody := _anybody()):
        return Client(anybody, f"address:{address}")
    if session:
        raise AccessDenied(UNKNOWN_SESSION, 401)
    raise AccessDenied(f"API key is missing, and {UNKNOWN_SESSION[0].lower()}{UNKNOWN_SESSION[1:]}", 401)


def caller_of_key(endpoints: Endpoints, key: str, endpoint: Endpoint | None = None) -> Caller:
    """Return the caller with this key of the configuration files or of the server. Raises: AccessDenied."""
    if user := endpoints.user_of(key):
        return _user(user)
    caller = KeyRing(store()).authenticate(key)
    if caller is not None and caller.is_client:
        return caller
    checked = [endpoint] if endpoint else endpoints.by_name.values()
    needs_key = any(candidate.client_keys for candidate in checked)
    if caller is None and not needs_key and (anybody := _anybody()):
        return anybody
    raise AccessDenied(BAD_KEY, 401)


def check_endpoint(endpoints: Endpoints, endpoint: Endpoint, caller: Caller, key: str) -> None:
    """Check that a known key is valid for this endpoint. Raises: AccessDenied."""
    if endpoints.user_of(key) is not None:
        is_allowed = key in endpoint.client_keys.values()
    else:
        is_allowed = not endpoint.client_keys or caller.is_admin
    if not caller.may_call(f"/{endpoint.name}"):
        is_allowed = False
    if caller.models and endpoint.model not in caller.models:
        is_allowed = False
    if not is_allowed:
        raise AccessDenied("Key not valid for this endpoint", 402)


def open_session(endpoints: Endpoints, endpoint: Endpoint, key: str | None) -> str:
    """Open a session and return its key. Raises: AccessDenied."""
    key = key or ""
    if not endpoint.client_keys and _anybody() is not None and key in ("", "null"):
        key = ""
    else:
        check_endpoint(endpoints, endpoint, caller_of_key(endpoints, key, endpoint), key)
    session = str(uuid.uuid4())
    LoginSessions(store()).open(session, key)
    return session


@contextmanager
def counted_request(endpoint: Endpoint, client: Client) -> Iterator[None]:
    """Count a request of a limited endpoint, unless it is refused inside.

    Raises:
        AccessDenied: the limit is reached.
    """
    if not endpoint.request_limit:
        yield
        return
    counters = RequestCounters(store())
    number = counters.increment(endpoint.name, client.counter)
    try:
        if number > endpoint.request_limit:
            raise AccessDenied(f"the limit of {endpoint.request_limit} requests is reached", 402)
        yield
    except FramemillError:
        counters.decrement(endpoint.name, client.counter)
        raise


def _caller_of_session(endpoints: Endpoints, session: str) -> tuple[Caller, str] | None:
    """Return the caller of a session and its key in the configuration files ('' if it has none).

    None if the session is unknown, or its key is not valid any more.
    """
    digest = LoginSessions(store()).key_digest(session)
    if digest is None:
        return None
    for endpoint in endpoints.by_name.values():
        for user, key in endpoint.client_keys.items():
            if digest_of(key) == digest:
                return _user(user), key
    caller = KeyRing(store()).by_digest(digest)
    if caller is None and (anybody := _anybody()):
        return anybody, ""
    return (caller, "") if caller is not None and caller.is_client else None


def _user(name: str) -> Caller:
    """Return a user of the configuration files."""
    return Caller(key_id=identity_of(ENDPOINT_FILES, name))


def _anybody() -> Caller | None:
    """Return the anonymous caller if the server has no keys."""
    return ANYBODY if auth.is_open() else None
