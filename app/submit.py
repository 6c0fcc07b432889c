"""From a caller's checked fields to an accepted job: the part of a submission that all protocols share."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from flask import request

from app import attachments, waiting
from app.access import auth
from app.attachments import Pictures
from app.extensions import current_jobs, dispatcher, models, objects, settings, store
from app.media.decoding import off_the_hub
from app.problems import Problems, root_of
from jobs import moderation
from jobs.errors import Forbidden, FramemillError, InvalidRequest, JobNotFound, Problem, Unavailable
from jobs.forecast import Forecast
from jobs.job_view import iso
from jobs.models.spec import ModelSpec
from jobs.record import Job, check_job_id, new_job_id
from jobs.requests import enhancing, generation, reuse
from jobs.requests.generation import GenerationRequest
from jobs.store import queries
from jobs.submission import CALLER_OPTIONS, Submission
from jobs.suggestions import listed
from tasks.dispatch import Submitted

MAX_IDEMPOTENCY_KEY_CHARS = 255
#: Fields without which little can be said about the others.
_DECISIVE = {"model", "kind", "mix"}


@dataclass(frozen=True)
class Prepared:
    """A job that is ready to be accepted: every field is valid, and its pictures are stored."""

    submission: Submission
    job_id: str
    chosen_by_client: bool


def prepare(
    values: Mapping[str, Any], pictures: Pictures, warnings: list[str], *, refused: Collection[str] = (),
    **queueing: Any,
) -> Prepared:  # fmt: skip
    """Check all fields and pictures, and store the pictures.

    Args:
        values: fields by their names in the native API, with checked types. None counts as not sent, and
            :data:`app.attachments.UNSTORED` stands for each picture.
        pictures: as the caller sent them.
        warnings: shown with the job, after those about the values themselves.
        refused: fields and parts that the protocol refuses already: the others are checked, nothing is stored, and
            InvalidRequest is raised in any case, with what else is wrong.
        queueing: fields of :class:`~jobs.submission.Submission` that the protocol decides.

    Raises:
        InvalidRequest: names every problem; nothing was stored.
        Forbidden: the key may not use this model or class.
    """
    values = dict(values)
    if not values.get("model") and not values.get("kind") and pictures.contents.keys() <= {"image"}:
        values["kind"] = settings().lightx2v.bare_kind(with_image=bool(pictures.contents))
    problems = Problems()
    client_id = str(values.get("id") or "")
    with problems.collected():
        job_id = check_job_id(client_id) if client_id else new_job_id()
    with problems.collected():
        _idempotency_key()
    resolved, submission, rounded = None, None, list[str]()
    if not _DECISIVE & {root_of(name) for name in refused}:
        with problems.collected():
            resolved, rounded = generation.resolve(models(), values, settings())
            submission = _submission(values, resolved, pictures, queueing)
    if refused or resolved is None or submission is None or problems:
        attachments.check(pictures, problems, settings=settings())
        raise InvalidRequest(*problems.besides(refused))
    stored = attachments.store(resolved, pictures, settings=settings(), objects=objects(), records=store())
    if stored.by_field:  # they decide about the size of the output
        resolved, rounded = generation.resolve(models(), values, settings(), stored.measured)
    resolved, failed = _enhanced(resolved, values.get("enhance_prompt"))
    complete = stored.put_into(resolved)
    reuse_key = reuse.digest_of(complete, models().get(complete.model)) if values.get("reuse") else ""
    submission = replace(submission, request=complete, warnings=rounded + warnings + failed, reuse_key=reuse_key)
    return Prepared(submission, job_id, bool(client_id))


def accept(prepared: Prepared, wait_s: float = 0) -> Submitted:
    """Accept a job. With ``wait_s``, then wait until it has finished, at most this many seconds.

    Raises:
        DuplicateJob, IdempotencyMismatch, QueueFull, ServiceBusy, Unavailable: not accepted.
    """
    if not wait_s:
        return _dispatch(prepared)
    with waiting.listening(prepared.job_id) as listener:
        submitted = _dispatch(prepared)
        job = waiting.wait_until_over(submitted.job, wait_s, listener)
    return replace(submitted, job=job, forecast=forecast_of(job))


def submit_batches(prepared: Prepared, batches: Mapping[str, GenerationRequest]) -> None:
    """Accept every batch of a request as a job, or none.

    Args:
        prepared: what the batches have in common.
        batches: id of the job → its request.

    Raises:
        QueueFull: none was accepted.
        Unavailable: some may have been accepted; submitting them again does no harm.
    """
    accepted: list[str] = []
    try:
        for job_id, batch in batches.items():
            accept(replace(prepared, submission=replace(prepared.submission, request=batch), job_id=job_id))
            accepted.append(job_id)
    except Unavailable:
        raise
    except FramemillError:
        for job_id in accepted:
            with suppress(JobNotFound):
                dispatcher().delete(job_id)
        raise


def _dispatch(prepared: Prepared) -> Submitted:
    return dispatcher().submit(prepared.submission, prepared.job_id, chosen_by_client=prepared.chosen_by_client)


def forecast_of(job: Job) -> Forecast:
    """Return where a job stands now, or stood at most a second ago."""
    return current_jobs().forecast(job)


def _submission(
    values: Mapping[str, Any],
    resolved: GenerationRequest,
    pictures: Pictures,
    queueing: Mapping[str, Any],
) -> Submission:
    """Return how the job is queued. Raises: InvalidRequest, Forbidden."""
    caller, spec = auth.caller(), models().get(resolved.model)
    auth.check_model(spec.name)
    _check_class(values.get("job_class"))
    _check_enhancer(values.get("enhance_prompt"))
    check_pause(values.get("pause_at_step"), resolved, spec, values.get("quality"))
    defaults: dict[str, Any] = {name: values[name] for name in CALLER_OPTIONS if values.get(name) is not None}
    defaults |= {
        "request": resolved,
        "caller": caller,
        "pin": _pinned_slot(values.get("slot"), resolved.model),
        "not_before_ms": start_time(values.get("not_before_ms")),
        "start_within_s": _time_limit("start_within_s", values, spec),
        "max_run_s": _time_limit("max_run_s", values, spec),
        "checkpoint_interval_s": values.get("checkpoint_interval_s"),
    }
    if idempotency_key := _idempotency_key():
        defaults |= {"idempotency_key": idempotency_key, "fingerprint": _fingerprint(values, pictures)}
    if "moderate" not in queueing:
        defaults["moderate"] = moderation.applies(values.get("moderate"), caller, settings())
    return Submission(**{**defaults, **queueing})


def _enhanced(resolved: GenerationRequest, requested: bool | None) -> tuple[GenerationRequest, list[str]]:
    """Return the request with an enhanced prompt, if that is wanted, and what went wrong."""
    if not settings().prompts.enhancer or not (settings().prompts.enhance if requested is None else requested):
        return resolved, []
    resolved, warning = off_the_hub(lambda: enhancing.enhanced(resolved, settings()))
    return resolved, [warning] if warning else []


def _check_enhancer(requested: bool | None) -> None:
    """Raises: InvalidRequest: a prompt is to be enhanced, but there is nothing that could do it."""
    if requested and not settings().prompts.enhancer:
        rule = "is not supported: this server has no prompt enhancer"
        raise InvalidRequest(Problem("enhance_prompt", rule, requested))


def _check_class(name: str | None) -> None:
    """Check that the caller may use a scheduling class. Raises: Forbidden."""
    if name is not None and not auth.caller().may_use_class(name):
        raise Forbidden(f"this key has no {name} class")


def check_pause(step: int | None, resolved: GenerationRequest, spec: ModelSpec, quality: str | None) -> None:
    """Check that the run of a job can be paused after a step. Raises: InvalidRequest."""
    if step is None:
        return
    last, rule = resolved.total_steps - 1, ""
    if spec.executor == "remote":
        rule = f"is not possible: back ends compute {spec.name}"
    elif spec.step_cache(quality):
        rule = f"is not possible: the step cache of {spec.name} cannot be stored"
    elif step > last:
        rule = f"must be at most {last}, one less than the steps of the job" if last else "needs more than one step"
    if rule:
        raise InvalidRequest(Problem("pause_at_step", rule, step))


def _idempotency_key() -> str:
    """Return the digest of the request's ``Idempotency-Key``, '' without one. Raises: InvalidRequest."""
    text = request.headers.get("Idempotency-Key", "")
    if len(text) > MAX_IDEMPOTENCY_KEY_CHARS or not text.isprintable():
        rule = f"must be at most {MAX_IDEMPOTENCY_KEY_CHARS} printable characters"
        raise InvalidRequest(Problem("Idempotency-Key", rule, text))
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def _time_limit(name: str, values: Mapping[str, Any], spec: ModelSpec) -> float:
    """Return a time limit in seconds: the request's, else the model's, else the server's."""
    requested = values.get(name)
    return float(requested if requested is not None else getattr(spec, name) or getattr(settings().scheduling, name))


def start_time(not_before_ms: int | None) -> int | None:
    """Return the time before which the job must not start; None if that is over. Raises: InvalidRequest."""
    if not_before_ms is None:
        return None
    ahead_s = not_before_ms / 1000 - time.time()
    max_s = settings().scheduling.not_before_max_s
    if ahead_s > max_s:
        raise InvalidRequest(Problem("not_before", f"must be at most {max_s:g} seconds ahead", iso(not_before_ms)))
    return not_before_ms if ahead_s > 0 else None


def _fingerprint(values: Mapping[str, Any], pictures: Pictures) -> str:
    """Return a digest that is equal for equal requests. A random seed does not count: no request sends it."""
    text = json.dumps([values, pictures.fingerprint()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _pinned_slot(name: str | None, model: str) -> str | None:
    """Return the only slot that may run the job, or None.

    The jobs of a service of one slot are pinned to it, also while its worker is away. Raises: InvalidRequest.
    """
    service_slot = settings().web.service_slot
    if service_slot and name in (None, "", service_slot):
        return service_slot
    if not name:
        return None
    slots = [slot.name for slot in queries.fleet(store()).slots if model in slot.models]
    if service_slot:
        slots = [slot for slot in slots if slot == service_slot]
    if name not in slots:
        rule = f"must be a slot that runs {model}: {listed(slots, name) or 'none is available now'}"
        raise InvalidRequest(Problem("slot", rule, name))
    return name
