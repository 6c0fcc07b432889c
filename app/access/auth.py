"""Authenticates callers by ``Authorization: Bearer <key>``, by a signed link that a key's owner was shown, or by the
session of the console.

On a server without keys, every caller is an admin.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

from flask import g, request
from flask_smorest import Blueprint

from app.access import links, sessions
from app.extensions import current_jobs, hub, settings, store
from jobs.callers import ANYBODY, Caller
from jobs.errors import Forbidden, JobNotFound, Unauthorized
from jobs.outbound.signed_links import SIGNATURE, LinkSigner
from jobs.record import Job
from jobs.store import queries
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.events import Event
from jobs.store.jobs import JobStore

#: Variable of the WSGI environment with the path that the client called, for routes that a prefix serves again.
CALLED_PATH = "framemill.called_path"
#: Schemes of keys in the header ``Authorization``; older clients of Replicate's API send ``Token``.
_SCHEMES = ("bearer", "token")


def identify(secret: str | None) -> Caller:
    """Return the caller with this secret.

    Raises:
        Unauthorized: the server has keys, and this is not one of them.
    """
    caller = KeyRing(store()).authenticate(secret) if secret else None
    if caller is not None:
        return caller
    if is_open():
        return ANYBODY
    raise Unauthorized("this key is unknown" if secret else "")


def is_open() -> bool:
    """Return whether every caller is an admin: the server listens on loopback and has no keys."""
    return settings().web.is_loopback and _has_no_keys(store(), int(time.monotonic()))


@lru_cache(maxsize=8)
def _has_no_keys(store: JobStore, second: int) -> bool:
    """Return whether the server has no keys; looked up once per ``second``, so a first key takes effect within one."""
    return KeyRing(store).is_empty()


def keys_changed() -> None:
    """Look up whether there are keys at the next request of this process."""
    _has_no_keys.cache_clear()


def protect(blueprint: Blueprint) -> None:
    """Authenticate the requests of a blueprint; :func:`caller` is the caller of the current one."""

    @blueprint.before_request
    def _authenticate() -> None:
        g.caller = _identified()
        check_client(g.caller)
        check_path(g.caller)


def protect_metrics(blueprint: Blueprint) -> None:
    """Let the requests of a blueprint in that come with a key for metrics or an admin's key."""

    @blueprint.before_request
    def _authenticate() -> None:
        g.caller = _identified()
        if not g.caller.may_read_metrics:
            raise Forbidden("this needs an admin's key, or one with the role metrics")
        check_path(g.caller)


def check_client(caller: Caller) -> None:
    """Check that a caller may use the APIs of clients. Raises: Forbidden."""
    if not caller.is_client:
        raise Forbidden(f"a key with the role {caller.role} cannot use the client API")


def _identified() -> Caller:
    """Return who sent the current request: the owner of its key, or of the key of its link or of its session.

    Raises: Unauthorized, Forbidden.
    """
    if secret() is None and not is_open():
        if links.is_followed():
            return links.caller_of_link()
        if caller := sessions.caller_of_session():
            return caller
    return identify(secret())


def check_path(caller: Caller) -> None:
    """Check that a key may call the path of the current request. Raises: Forbidden."""
    called = (request.path, request.environ.get(CALLED_PATH, request.path))
    if not any(caller.may_call(path) for path in called) and not links.may_follow(caller):
        raise Forbidden("this key may not use this endpoint")


def secret() -> str | None:
    """Return the secret of the current request, or None."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() in _SCHEMES else None


def still_valid(event: Event | None = None) -> bool:
    """Return whether the current request, whose response takes long, would still be accepted.

    Its key may have been revoked meanwhile, and its link may have expired. Requests with the same key, link or session
    that ask because of the same event share one look into the store.
    """
    presented = secret() or request.args.get(SIGNATURE) or sessions.cookie()
    try:
        if event is None:
            return _identified() == caller()
        return hub().shared.get(("caller", event, presented), _identified) == caller()
    except (Unauthorized, Forbidden):
        return False


def caller() -> Caller:
    """Return the caller of the current request."""
    current: Caller = g.caller
    return current


def signer() -> LinkSigner | None:
    """Return the signer of the links that the caller is shown; None on a server without keys."""
    return links.signer_for(caller())


def admin() -> Caller:
    """Return the caller, which must be an admin. Raises: Forbidden."""
    if not caller().is_admin:
        raise Forbidden("this needs an admin's key")
    return caller()


def check_model(model: str) -> None:
    """Check that the caller's key may use a model. Raises: Forbidden."""
    if caller().models and model not in caller().models:
        raise Forbidden(f"this key may not use model {model}")


def visible_job(job_id: str) -> Job:
    """Return a job that the caller may see.

    Raises:
        JobNotFound: unknown id, or a job of another key.
    """
    job = current_jobs().get(job_id)
    if not caller().owns(job.key_id):
        raise JobNotFound(f"job {job_id!r} does not exist")
    return job


def visible_ids(job_ids: Sequence[str]) -> list[str]:
    """Return those of these ids whose jobs the caller may see, found in one round trip."""
    scope = caller().scope
    return list(job_ids) if scope is None else queries.of_key(store(), scope, job_ids)
