"""Who vouches for a worker over HTTP, and on which jobs it may report."""

from __future__ import annotations

from typing import Any

from app.access import auth
from app.extensions import store
from app.protocols.aime.endpoints.spec import Endpoint
from app.protocols.aime.workers import pulling
from app.protocols.aime.workers.memory import Run
from jobs.callers import ENDPOINT_FILES, UNCHECKED, Role, identity_of
from jobs.store.credentials.api_keys import KeyRing

NOT_AUTHORIZED = "Worker not authorized!"


def refusal_of(run: Run, served: list[Endpoint], fields: dict[str, Any]) -> str:
    """Return why a worker may not report on a run; '' if it may: the run is its own. Raises: Unavailable."""
    vouched_by = checked_by(served, fields)
    if vouched_by is None:
        return NOT_AUTHORIZED
    name = name_in(fields)
    if not pulling.holds(run.slot, name, vouched_by, served[0]):
        return f"Job with job id {fields['job_id']} not found in worker {name}!"
    return ""


def name_in(fields: dict[str, Any]) -> str:
    """Return how a worker calls itself in a call, '' if it does not. Batches of progress name it in their data."""
    data = fields.get("progress_data")
    name = fields.get("auth") or (data.get("auth") if isinstance(data, dict) else None)
    return str(name or "")[: pulling.MAX_FACT_CHARS]


def checked_by(served: list[Endpoint], fields: dict[str, Any]) -> str | None:
    """Return what vouches for a worker: the endpoint's file, a key of the server, or (without keys) nothing.

    None: nothing does, and it must be refused. Raises: Unavailable.
    """
    key = fields.get("auth_key")
    if served and served[0].worker_key and served[0].accepts_worker_key(key):
        return identity_of(ENDPOINT_FILES, served[0].job_type)
    caller = KeyRing(store()).authenticate(key) if isinstance(key, str) and key else None
    if caller is not None:
        is_worker = caller.role is Role.WORKER and (not caller.models or served[0].model in caller.models)
        return caller.key_id if is_worker else None
    is_open = served and not served[0].worker_key and auth.is_open()
    return identity_of(UNCHECKED, served[0].job_type) if is_open else None
