"""From a body in our words to an accepted job."""

from __future__ import annotations

from typing import Any

from flask import current_app

from app import attachments, auth
from app.payloads import Wanted, in_their_words
from jobs import requests
from jobs.errors import InvalidRequest
from jobs.forecast import Forecast
from jobs.models import ModelRegistry
from jobs.objects import ObjectStore
from jobs.record import Job
from jobs.settings import Settings
from jobs.submission import Submission
from tasks import dispatch
from tasks.celery_app import store


def settings() -> Settings:
    """The settings of this app."""
    found: Settings = current_app.config["FRAMEMILL"]
    return found


def models() -> ModelRegistry:
    """The models that this service offers."""
    found: ModelRegistry = current_app.config["FRAMEMILL_MODELS"]
    return found


def objects() -> ObjectStore:
    """Where inputs and outputs are kept."""
    found: ObjectStore = current_app.config["FRAMEMILL_OBJECTS"]
    return found


def submit(wanted: Wanted, job_id: str, names: dict[str, str], **queueing: Any) -> tuple[Job, Forecast]:
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
        resolved, rounded = requests.resolve(models(), values, settings())
        spec = models().get(resolved.model)
        auth.check_model(spec.name)
        stored = attachments.store(resolved, pictures, settings=settings(), objects=objects(), records=store())
        submission = Submission(
            request=stored,
            caller=auth.caller(),
            warnings=wanted.warnings + rounded,
            max_run_s=float(spec.max_run_s or settings().max_run_s),
            **{"start_within_s": float(spec.start_within_s or settings().start_within_s), **queueing},
        )
        return dispatch.submit(submission, job_id, chosen_by_client=False)
    except InvalidRequest as exc:
        raise in_their_words(exc, names) from exc
