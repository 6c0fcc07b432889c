"""From a body in the sender's words to an accepted job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app import attachments
from app.payloads import Wanted, in_their_words
from app.submit import accept, prepare
from jobs.errors import InvalidRequest
from jobs.record import Job


def submit(wanted: Wanted, job_id: str, names: dict[str, str], **queueing: Any) -> Job:
    """Check everything, store the images, accept the job.

    Args:
        wanted: the job.
        job_id: its id, of our own making.
        names: our fields → the sender's, for errors.
        queueing: further fields of :class:`~jobs.submission.Submission`.

    Raises:
        InvalidRequest: with every problem found, in the sender's words; nothing was stored.
        Forbidden: the key may not use this model.
        IdempotencyMismatch, QueueFull, Unavailable: not accepted.
    """
    values = {name: value for name, value in wanted.values.items() if value is not None}
    if "mix" in values:
        values["mix"] = [dict(part) for part in values["mix"]]
    try:
        pictures = attachments.take(values, {})
        # A socket is opened by one request for many jobs: its headers say nothing of a single one.
        prepared = prepare(values, pictures, wanted.warnings, idempotency_key="", **queueing)
        return accept(replace(prepared, job_id=job_id)).job
    except InvalidRequest as exc:
        raise in_their_words(exc, names) from exc
