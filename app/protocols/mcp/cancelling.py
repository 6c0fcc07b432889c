"""Stop the job of a request by the request's id.

The job remembers the request as an idempotency key of its session, so any web process finds it, also after a restart;
and a request that is sent again, because its response was lost, gets the same job.
"""

from __future__ import annotations

import hashlib
import logging

from app.access import auth
from app.extensions import dispatcher, store
from app.protocols.mcp.wire.eras import Call
from app.protocols.mcp.wire.messages import RequestId
from jobs.errors import JobNotFound
from jobs.store import queries

logger = logging.getLogger(__name__)


def mark_of(call: Call) -> str:
    """Return what marks the job of a request; '' without a session, whose ids of requests would be ambiguous."""
    request_id = call.message.request_id
    return _mark(call.session, request_id) if call.session and request_id is not None else ""


def cancel_request(call: Call) -> None:
    """Stop the job that the notified request has submitted, if there is one. Raises: Unavailable."""
    request_id = call.message.params.get("requestId")
    if not call.session or not isinstance(request_id, str | int):
        return
    job_id = queries.job_id_of_idempotency_key(store(), auth.caller().key_id, _mark(call.session, request_id))
    if job_id is None:
        return
    try:
        auth.visible_job(job_id)
        dispatcher().cancel(job_id)
    except JobNotFound:
        logger.debug("the job of a cancelled request was deleted", extra={"job_id": job_id})


def _mark(session: str, request_id: RequestId) -> str:
    return hashlib.sha256(f"mcp {session} {type(request_id).__name__} {request_id}".encode()).hexdigest()
