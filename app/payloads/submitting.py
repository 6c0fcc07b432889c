"""Submit the job of a mapped request body."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from app import attachments
from app import submit as submitting
from app.payloads import MappedBody, rename_fields
from jobs.errors import InvalidRequest
from jobs.record import Job
from jobs.requests.inputs import PARTS


def submit_mapped(mapped: MappedBody, job_id: str, names: dict[str, str], **queueing: Any) -> Job:
    """Check all fields, store the images, and accept the job.

    Args:
        mapped: the request body.
        job_id: a new id of the job.
        names: field of the native API → field of the body, for errors.
        queueing: further fields of :class:`~jobs.submission.Submission`.

    Raises:
        InvalidRequest: names every problem with the fields of the body; nothing was stored.
        Forbidden: the key may not use this model.
        IdempotencyMismatch, QueueFull, Unavailable: not accepted.
    """
    values = {name: value for name, value in mapped.values.items() if value is not None}
    values |= {name: [dict(part) for part in values[name]] for name in PARTS if name in values}
    try:
        pictures = attachments.take(values, {})
        # The socket was opened by one HTTP request for many jobs, so its headers do not apply to a single job.
        prepared = submitting.prepare(values, pictures, mapped.warnings, idempotency_key="", **queueing)
        return submitting.accept(replace(prepared, job_id=job_id)).job
    except InvalidRequest as exc:
        raise rename_fields(exc, {**names, **mapped.names}) from exc
