"""Who calls: API keys as ``Authorization: Bearer <key>``. Without any key on the server everybody is the operator."""

from __future__ import annotations

import time
from functools import lru_cache

from flask import g, request
from flask_smorest import Blueprint

from app.extensions import settings, store
from jobs.callers import ANYBODY, Caller, Role
from jobs.errors import Forbidden, JobNotFound, Unauthorized, Unavailable
from jobs.record import Job
from jobs.settings import Settings
from jobs.store import queries
from jobs.store.api_keys import KeyRing
from jobs.store.jobs import JobStore


def identify(secret: str | None) -> Caller:
    """The caller with this secret.

    Raises:
        Unauthorized: the server has keys, and this is none of them.
    """
    caller = KeyRing(store()).authenticate(secret) if secret else None
    if caller is not None:
        return caller
    if is_open():
        return ANYBODY
    raise Unauthorized("this key is unknown" if secret else "")


def is_open() -> bool:
    """Whether anybody may do everything: on loopback, without keys."""
    return settings().web.is_loopback and _has_no_keys(store(), int(time.monotonic()))


@lru_cache(maxsize=8)
def _has_no_keys(store: JobStore, second: int) -> bool:
    """Whether the server has no keys; looked up once a second, so the first key takes effect within one."""
    return KeyRing(store).is_empty()


def keys_changed() -> None:
    """Make this process look up at once whether there are keys."""
    _has_no_keys.cache_clear()


def protect(blueprint: Blueprint) -> None:
    """Let only known callers use a blueprint's routes; ``caller()`` is the one of this request."""

    @blueprint.before_request
    def _authenticate() -> None:
        g.caller = identify(secret())
        if g.caller.role is Role.WORKER:
            raise Forbidden("a worker's key cannot use the client API")
        if g.caller.endpoints and not request.path.startswith(g.caller.endpoints):
            raise Forbidden("this key may not use this endpoint")


def secret() -> str | None:
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def still_valid() -> bool:
    """Whether the caller of a long answer may have the rest of it: not when its key was revoked meanwhile."""
    try:
        return identify(secret()) == caller()
    except Unauthorized:
        return False


def caller() -> Caller:
    """Who sent the request that is being answered."""
    found: Caller = g.caller
    return found


def admin() -> Caller:
    """The caller, who must be an admin. Raises: Forbidden."""
    if not caller().is_admin:
        raise Forbidden("this needs an admin's key")
    return caller()


def check_model(model: str) -> None:
    """Raises: Forbidden: the caller's key may not use this model."""
    if caller().models and model not in caller().models:
        raise Forbidden(f"this key may not use model {model}")


def visible_job(job_id: str) -> Job:
    """Return a job that the caller may see.

    Raises:
        JobNotFound: unknown id, or a job of another key.
    """
    job = store().get(job_id)
    if not caller().owns(job.key_id):
        raise JobNotFound(f"there is no job {job_id!r}")
    return job


def sees(job_id: str) -> bool:
    """Return whether the caller may see this job."""
    if caller().is_admin:
        return True
    job = queries.find(store(), job_id)
    return job is not None and caller().owns(job.key_id)


def refuse_open_address(settings: Settings) -> None:
    """Keep a server without keys on loopback: anybody who reaches it could use the GPUs.

    Raises:
        SystemExit: with what to do.
    """
    if settings.web.is_loopback or settings.access.key_entries or settings.devoid.services:
        return
    try:
        if not KeyRing(JobStore(settings)).is_empty():
            return
        reason = "there are no keys yet, so anybody who reaches it could use the GPUs"
    except Unavailable:
        reason = "Redis does not answer, so it is unknown whether there are keys"
    raise SystemExit(
        f"HOST {settings.web.host} is refused: {reason}. Start on loopback and make a key with "
        "'framemill keys create', or set API_KEYS."
    )
