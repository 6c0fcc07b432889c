"""From a caller's checked fields to an accepted job: what the submit of every protocol does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flask import request

from app import attachments, auth, waiting
from app.attachments import Pictures
from app.extensions import dispatcher, models, objects, settings, store
from jobs import moderation
from jobs.errors import Forbidden, InvalidRequest, Problem
from jobs.forecast import OVER, Forecast
from jobs.models.spec import Kind, ModelSpec
from jobs.record import Job, check_job_id, new_job_id
from jobs.requests import generation as requests
from jobs.requests.generation import GenerationRequest
from jobs.store import queries
from jobs.store.jobs import Capacity
from jobs.submission import CALLER_OPTIONS, Submission

MAX_IDEMPOTENCY_KEY_CHARS = 255


@dataclass(frozen=True)
class Prepared:
    """A job that could be accepted: every field is right, and its pictures are stored."""

    submission: Submission
    job_id: str
    chosen_by_client: bool


def prepare(
    values: Mapping[str, Any], pictures: Pictures, warnings: list[str], **queueing: Any
) -> Prepared:  # fmt: skip
    """Check everything, then store the pictures.

    Args:
        values: the native API's field names, types already checked; None counts as not sent, and
            :data:`app.attachments.UNSTORED` stands for each picture.
        pictures: as the caller sent them.
        warnings: to be shown with the job, before those of the values themselves.
        queueing: further fields of :class:`~jobs.submission.Submission` that the protocol decides.

    Raises:
        InvalidRequest: with every problem found; nothing was stored.
        Forbidden: the key may not use this model or class.
    """
    values = dict(values)
    if not values.get("model") and not values.get("kind") and pictures.contents.keys() <= {"image"}:
        values["kind"] = settings().bare_kind(with_image=bool(pictures.contents))
    chosen = check_job_id(values["task_id"]) if values.get("task_id") else None
    resolved, rounded = requests.resolve(models(), values, settings())
    submission = _submission(values, resolved, rounded + warnings, pictures, queueing)
    stored = attachments.store(resolved, pictures, settings=settings(), objects=objects(), records=store())
    submission = replace(submission, request=stored)
    return Prepared(submission, chosen or new_job_id(), chosen is not None)


def accept(prepared: Prepared, wait_s: float = 0) -> tuple[Job, Forecast | None]:
    """Accept a job; with ``wait_s`` wait for its end, at most so long.

    Returns:
        The job, and where it stands as it was accepted (None after waiting).

    Raises:
        DuplicateJob, IdempotencyMismatch, QueueFull, ServiceBusy, Unavailable: not accepted.
    """

    def send() -> tuple[Job, Forecast]:
        return dispatcher().submit(prepared.submission, prepared.job_id, chosen_by_client=prepared.chosen_by_client)

    if not wait_s:
        return send()
    with waiting.listening(prepared.job_id) as listener:
        return waiting.wait_until_over(send()[0], wait_s, listener), None


def capacity() -> Capacity:
    """The active and waiting jobs of this service, and the number of further jobs that would start at once."""
    own = settings()
    video = models().default_for(Kind.TEXT2VIDEO) if own.lightx2v_profile == "single" else None
    return store().capacity(own.service_slot, video.name if video else "")


def forecast_of(job: Job) -> Forecast:
    """Where a job stands now."""
    return OVER if job.state.is_terminal else store().forecast(job.job_id)[0]


def _submission(
    values: Mapping[str, Any],
    resolved: GenerationRequest,
    warnings: list[str],
    pictures: Pictures,
    queueing: Mapping[str, Any],
) -> Submission:
    """How the job is to be queued. Raises: InvalidRequest, Forbidden."""
    caller, spec = auth.caller(), models().get(resolved.model)
    auth.check_model(spec.name)
    if values.get("job_class") == "premium" and not (caller.is_admin or caller.job_class == "premium"):
        raise Forbidden("this key has no premium class")
    idempotency_key = request.headers.get("Idempotency-Key", "")
    if len(idempotency_key) > MAX_IDEMPOTENCY_KEY_CHARS or not idempotency_key.isprintable():
        rule = f"must be at most {MAX_IDEMPOTENCY_KEY_CHARS} printable characters"
        raise InvalidRequest(Problem("Idempotency-Key", rule, idempotency_key))
    usual: dict[str, Any] = {name: values[name] for name in CALLER_OPTIONS if values.get(name) is not None}
    usual |= {
        "request": resolved,
        "caller": caller,
        "warnings": warnings,
        "pin": _pin(values.get("slot"), resolved.model),
        "start_within_s": _limit("start_within_s", values, spec),
        "max_run_s": _limit("max_run_s", values, spec),
        "idempotency_key": hashlib.sha256(idempotency_key.encode()).hexdigest() if idempotency_key else "",
        "fingerprint": _fingerprint(values, pictures),
    }
    if "moderate" not in queueing:
        usual["moderate"] = moderation.wanted(values.get("moderate"), caller, settings())
    return Submission(**{**usual, **queueing})


def _limit(name: str, values: Mapping[str, Any], spec: ModelSpec) -> float:
    own = values.get(name)
    return float(own if own is not None else getattr(spec, name) or getattr(settings(), name))


def _fingerprint(values: Mapping[str, Any], pictures: Pictures) -> str:
    """Equal for equal requests: a repeat of a request without a seed has no seed either."""
    text = json.dumps([values, pictures.fingerprint()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _pin(name: str | None, model: str) -> str | None:
    """The only slot that may run the job, if any. A service of one slot waits for it also while it is away."""
    own = settings().service_slot
    if own and name in (None, "", own):
        return own
    if not name:
        return None
    fitting = [slot.name for slot in queries.fleet(store()).slots if model in slot.models and own in ("", slot.name)]
    if name not in fitting:
        rule = f"must be a slot that runs {model}: {', '.join(fitting) or 'none is there now'}"
        raise InvalidRequest(Problem("slot", rule, name))
    return name
