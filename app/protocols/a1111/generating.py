"""``txt2img`` and ``img2img``: from a body to the answer with the images, over retries of the client."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from flask import Response, json, request

from app import attachments, auth
from app.extensions import dispatcher, models, store
from app.payloads import a1111, rename_fields
from app.protocols.a1111 import answers, bodies, options
from app.protocols.a1111.access import Failed
from app.protocols.a1111.holding import Held, HungUp, take
from app.submit import Prepared, accept, prepare
from jobs.errors import FramemillError, InvalidRequest, JobNotFound, ModerationRefused, Unavailable
from jobs.models.spec import Kind
from jobs.record import Job, new_job_id
from jobs.states import JobState
from jobs.store import queries
from jobs.store.held_requests import HeldRequest, HeldRequests, new_holder

logger = logging.getLogger(__name__)

PROTOCOL = "a1111"
#: Fields of ours that the original's API sets itself where neither the body nor the models file says anything.
_UNSENT = {"steps": 50, "width": 512, "height": 512, "guidance_scale": 7.0, "strength": 0.75}
#: Fields of pictures: what is wrong with them is an undecodable image to clients.
_PICTURES = ("init_images", "image", "mask")


def generate(kind: Kind) -> Response:
    """Answer the present request when its images are there."""
    table = bodies.TXT2IMG if kind is Kind.TEXT2IMG else bodies.IMG2IMG
    sent = bodies.read(table)
    if kind is Kind.IMG2IMG and not sent.get("init_images"):
        raise Failed(404, "Init image not found")
    held_requests = HeldRequests(store(), auth.caller().key_id)
    digest = hashlib.sha256(f"{kind} ".encode() + request.get_data(cache=True)).hexdigest()
    forced = sent.get("force_task_id") or ""
    try:
        held = take(held_requests, _new_request(held_requests.key_id, sent, kind), digest, forced=bool(forced))
        if held.request.is_repeat and _ended_badly(held.request):
            held_requests.discard(held.request)  # it was no success: try again
            held = take(held_requests, _new_request(held_requests.key_id, sent, kind), digest, forced=bool(forced))
    except HungUp:
        return _nobody()
    try:
        jobs = _finished(held, sent, kind)
        body = _answer(held_requests, held.request, jobs, sent, kind)
    except HungUp:
        with suppress(Unavailable):
            held_requests.release(held.request)
        return _nobody()
    except Unavailable:
        raise  # the jobs, if any were accepted, go on; a repeat is given them
    except FramemillError:
        settle = held_requests.mark_delivered if forced and _exists(held.request) else held_requests.discard
        settle(held.request)
        raise
    response = Response(held.sent(body), mimetype="application/json")
    response.content_length = len(body)
    return response


def _new_request(key_id: str, sent: Mapping[str, Any], kind: Kind) -> HeldRequest:
    """A call for this body, with the ids of its jobs and the seed of its first image."""
    route = "txt2img" if kind is Kind.TEXT2IMG else "img2img"
    request_id = sent.get("force_task_id") or f"task({route}-{secrets.token_hex(8)})"
    seed = sent.get("seed", -1)
    jobs = tuple(new_job_id() for _ in range(sent.get("n_iter", 1)))
    return HeldRequest(key_id, request_id, jobs, secrets.randbelow(2**32) if seed < 0 else seed, new_holder())


def _check_scripts(sent: Mapping[str, Any]) -> None:
    """Raises: Failed: there are no scripts here."""
    script = sent.get("script_name") or "None"
    if script != "None":
        raise Failed(422, f"Script '{script[:80]}' not found")
    for name in sent.get("alwayson_scripts") or {}:
        raise Failed(422, f"always on script {str(name)[:80]} not found")


def _finished(held: Held, sent: Mapping[str, Any], kind: Kind) -> list[Job]:
    """The call's jobs when they are over, submitted if they were not. Raises: HungUp."""
    if not (held.request.is_repeat and _exists(held.request)):
        prepared = _prepared(sent, kind, held.request)
        held.look()
        _submit(prepared, held.request)
    return held.wait(held.request.job_ids)


def _exists(held_request: HeldRequest) -> bool:
    return all(queries.find(store(), job_id) is not None for job_id in held_request.job_ids)


def _ended_badly(held_request: HeldRequest) -> bool:
    found = [queries.find(store(), job_id) for job_id in held_request.job_ids]
    return any(job is not None and job.state.is_terminal and job.state is not JobState.SUCCEEDED for job in found)


def _prepared(sent: Mapping[str, Any], kind: Kind, held_request: HeldRequest) -> Prepared:
    """The first batch of a body, checked. Raises: InvalidRequest, Failed, Forbidden."""
    body = {name: value for name, value in sent.items() if name not in ("infotext", "n_iter")}
    if sent.get("subseed_strength") and sent.get("subseed", -1) < 0:
        # Random, and the same for a connection that takes the request over.
        body["subseed"] = int(held_request.job_ids[0][-8:], 16)
    wanted = a1111.map_body(body, kind, models(), options.model())
    values = {name: value for name, value in wanted.values.items() if value is not None}
    spec = models().get(values["model"])
    if spec.executor != "remote":
        _check_scripts(sent)
    for name, default in _UNSENT.items():
        if name not in sent and name not in _sent_as(sent) and (name != "strength" or "strength" in values):
            limit = spec.limit(name)
            values[name] = spec.defaults.get(name, type(default)(min(max(default, limit.low), limit.high)))
    values["output_format"] = options.samples_format(sent.get("override_settings"))
    pictures = attachments.take(values, {})
    try:
        return prepare(values, pictures, wanted.warnings, idempotency_key="", protocol=PROTOCOL)
    except ModerationRefused:
        raise
    except InvalidRequest as exc:
        renamed = rename_fields(exc, a1111.NAMES)
        broken = next((problem for problem in renamed.problems if problem.field in _PICTURES), None)
        if broken is not None and pictures.contents:
            raise Failed(500, "Invalid encoded image", f"{broken.field}: {broken.rule}") from exc
        raise renamed from exc


def _sent_as(sent: Mapping[str, Any]) -> set[str]:
    """Our names of what was sent."""
    return {ours for ours, theirs in a1111.NAMES.items() if theirs in sent}


def _submit(prepared: Prepared, held_request: HeldRequest) -> None:
    """Submit every batch, or none."""
    request_ = prepared.submission.request
    done: list[str] = []
    try:
        for number, job_id in enumerate(held_request.job_ids):
            batch = request_.batch(held_request.seed, number * request_.num_images)
            submission = replace(prepared.submission, request=batch)
            accept(replace(prepared, submission=submission, job_id=job_id))
            done.append(job_id)
    except Unavailable:
        raise
    except FramemillError:
        for job_id in done:
            with suppress(JobNotFound):
                dispatcher().delete(job_id)
        raise


def _answer(
    held_requests: HeldRequests, held_request: HeldRequest, jobs: list[Job], sent: Mapping[str, Any], kind: Kind
) -> bytes:  # fmt: skip
    """The body of the answer. Raises: Failed: a job failed; the others are stopped."""
    failed = next((job for job in jobs if job.state in (JobState.FAILED, JobState.EXPIRED)), None)
    if failed is not None:
        for job_id in held_request.job_ids:
            with suppress(JobNotFound):
                dispatcher().cancel(job_id)
        error = failed.error or {}
        text = str(error.get("message") or f"the job is {failed.state}")
        raise Failed(500, "", f"{error.get('code', 'job_failed')}: {text}")
    body = answers.answer(jobs, held_requests.pictures(held_request), sent, kind)
    return json.dumps(body).encode()


def _nobody() -> Response:
    """An answer that nobody reads."""
    return Response(status=408)
