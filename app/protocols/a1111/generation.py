"""``txt2img`` and ``img2img``: from a body to the response with the images, across repeats of the client."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from flask import Response

from app import attachments
from app.access import auth
from app.extensions import dispatcher, models, store
from app.held import ClientDisconnected, HeldConnection, RequestMismatch, exists, hold, unread_response
from app.own_outputs import OutputNotUsable
from app.payloads import a1111, a1111_controls, rename_fields
from app.protocols.a1111 import bodies, options, responses
from app.protocols.a1111.access import A1111Error
from app.submit import Prepared, prepare, submit_batches
from jobs.errors import InvalidRequest, JobNotFound, ModerationRefused
from jobs.models.spec import Kind, ModelSpec
from jobs.record import Job, new_job_id
from jobs.states import JobState
from jobs.store.held_requests import HeldRequest, HeldRequests, new_holder
from jobs.strict_json import dumps

PROTOCOL = "a1111"
#: Defaults of the original API for fields that neither the body nor the models file sets.
_DEFAULTS = {"steps": 50, "width": 512, "height": 512, "guidance_scale": 7.0, "strength": 0.75}
#: Fields with images: clients expect an invalid image as one error, whatever is wrong with it.
_IMAGE_FIELDS = ("init_images", "image", "mask")


def generate(kind: Kind) -> Response:
    """Return the response to the current request when its images are finished."""
    digest = hashlib.sha256(f"{kind} ".encode())
    fields = bodies.parse_body(bodies.TXT2IMG if kind is Kind.TEXT2IMG else bodies.IMG2IMG, digest)
    if kind is Kind.IMG2IMG and not fields.get("init_images"):
        raise A1111Error(404, "Init image not found")
    requests = HeldRequests(store(), auth.caller().key_id)
    try:
        connection = _hold(requests, fields, kind, digest.hexdigest())
        with connection.let_go_on_error(keeps_id=bool(fields.get("force_task_id"))):
            jobs = _finished_jobs(connection, fields, kind)
            body = _body(requests, connection.request, jobs, fields, kind)
    except ClientDisconnected:
        return unread_response()
    response = Response(connection.deliver([body]), mimetype="application/json")
    response.content_length = len(body)
    return response


def _hold(requests: HeldRequests, fields: Mapping[str, Any], kind: Kind, digest: str) -> HeldConnection:
    """Open the request, or take over the one that it repeats. Raises: ClientDisconnected, A1111Error."""
    try:
        how = {"forced": bool(fields.get("force_task_id")), "random": _is_random(fields)}
        return hold(requests, lambda: _new_request(requests.key_id, fields, kind), digest, **how)
    except RequestMismatch:
        raise A1111Error(409, "force_task_id was used for another request") from None


def _is_random(fields: Mapping[str, Any]) -> bool:
    """Return whether equal bodies ask for different images."""
    return fields.get("seed", -1) < 0 or _has_random_subseed(fields)


def _has_random_subseed(fields: Mapping[str, Any]) -> bool:
    return bool(fields.get("subseed_strength")) and fields.get("subseed", -1) < 0


def _new_request(key_id: str, fields: Mapping[str, Any], kind: Kind) -> HeldRequest:
    """Return a request with new ids of its jobs, and the seed of its first image."""
    route = "txt2img" if kind is Kind.TEXT2IMG else "img2img"
    request_id = fields.get("force_task_id") or f"task({route}-{secrets.token_hex(8)})"
    seed = fields.get("seed", -1)
    job_ids = tuple(new_job_id() for _ in range(fields.get("n_iter", 1)))
    return HeldRequest(key_id, request_id, job_ids, secrets.randbelow(2**32) if seed < 0 else seed, new_holder())


def _finished_jobs(connection: HeldConnection, fields: Mapping[str, Any], kind: Kind) -> list[Job]:
    """Submit the jobs unless they exist, and return them when they have finished. Raises: ClientDisconnected."""
    if not (connection.request.is_repeat and exists(connection.request)):
        prepared = _prepare(fields, kind, connection.request)
        connection.check()
        job_request, held_request = prepared.submission.request, connection.request
        batches = (
            job_request.batch(held_request.seed, number * job_request.num_images)
            for number in range(len(held_request.job_ids))
        )
        submit_batches(prepared, dict(zip(held_request.job_ids, batches, strict=True)))
    return connection.wait(connection.request.job_ids)


def _prepare(fields: Mapping[str, Any], kind: Kind, held_request: HeldRequest) -> Prepared:
    """Check the first batch of a body. Raises: InvalidRequest, A1111Error, Forbidden."""
    body = {name: value for name, value in fields.items() if name not in ("infotext", "n_iter")}
    if _has_random_subseed(fields):
        # A random subseed, which a connection that takes the request over derives again.
        body["subseed"] = int(held_request.job_ids[0][-8:], 16)
    if overridden := options.overridden():
        body["override_settings"] = {**overridden, **fields.get("override_settings", {})}
    mapped = a1111.map_body(body, kind, models(), options.selected_model())
    values = {name: value for name, value in mapped.values.items() if value is not None}
    spec = models().get(values["model"])
    if spec.executor != "remote":
        _check_scripts(fields)
    values |= _default_values(fields, values, spec)
    values["output_format"] = options.samples_format(fields.get("override_settings"))
    pictures = attachments.take(values, {})
    try:
        return prepare(values, pictures, mapped.warnings, idempotency_key="", protocol=PROTOCOL)
    except ModerationRefused:
        raise
    except InvalidRequest as exc:
        renamed = rename_fields(exc, {**a1111.NAMES, **mapped.names})
        invalid = next((problem for problem in renamed.problems if problem.field in _IMAGE_FIELDS), None)
        if invalid is not None and pictures.contents and not isinstance(exc, OutputNotUsable):
            raise A1111Error(500, "Invalid encoded image", f"{invalid.field}: {invalid.rule}") from exc
        raise renamed from exc


def _default_values(fields: Mapping[str, Any], values: Mapping[str, Any], spec: ModelSpec) -> dict[str, Any]:
    """Return the values of fields that the body omits: the model's, or the original API's within the model's limits."""
    given = {name for name, body_name in a1111.NAMES.items() if body_name in fields} | fields.keys()
    defaults = {}
    for name, default in _DEFAULTS.items():
        if name not in given and (name != "strength" or "strength" in values):
            limit = spec.limit(name)
            defaults[name] = spec.defaults.get(name, type(default)(min(max(default, limit.low), limit.high)))
    return defaults


def _check_scripts(fields: Mapping[str, Any]) -> None:
    """Raise A1111Error if the body names another script than that of the ControlNet extension."""
    script = fields.get("script_name") or "None"
    if script != "None":
        raise A1111Error(422, f"Script '{script[:80]}' not found")
    for name in fields.get("alwayson_scripts") or {}:
        if str(name).lower() != a1111_controls.SCRIPT:
            raise A1111Error(422, f"always on script {str(name)[:80]} not found")


def _body(
    requests: HeldRequests, held_request: HeldRequest, jobs: list[Job], fields: Mapping[str, Any], kind: Kind
) -> bytes:  # fmt: skip
    """Return the body of the response. Raises: A1111Error: a job failed; the other jobs are cancelled."""
    failed = next((job for job in jobs if job.state in (JobState.FAILED, JobState.EXPIRED)), None)
    if failed is not None:
        for job_id in held_request.job_ids:
            with suppress(JobNotFound):
                dispatcher().cancel(job_id)
        error = failed.error or {}
        message = str(error.get("message") or f"the job is {failed.state}")
        raise A1111Error(500, "", f"{error.get('code', 'job_failed')}: {message}")
    return dumps(responses.images_body(jobs, requests.pictures(held_request), fields, kind)).encode()
