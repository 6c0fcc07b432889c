"""From a request to the response with its picture or video, across repeats of the client."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace

from flask import Response, request

from app import attachments, waiting
from app.access import auth
from app.downloads import set_file_headers
from app.extensions import models, objects, store
from app.held import ClientDisconnected, HeldConnection, exists, hold, unread_response
from app.payloads import rename_fields
from app.protocols.huggingface.bodies import read_body
from app.protocols.huggingface.errors import GenerationEnded, ModelLoading
from app.protocols.huggingface.mapping import Mapped, map_body
from app.protocols.huggingface.states import STATUS
from app.server import request_log
from app.submit import Prepared, accept, prepare
from jobs.errors import InvalidRequest
from jobs.models.spec import Kind, ModelSpec
from jobs.record import Job, Output, new_job_id
from jobs.states import JobState
from jobs.store import queries
from jobs.store.held_requests import HeldRequest, HeldRequests, new_holder

PROTOCOL = "huggingface"
#: Seconds before a client is told that no slot can run its model: @huggingface/inference repeats at once, for ever.
PAUSE_S = 1.0
#: Longest header with a warning, characters.
_MAX_WARNING_CHARS = 500


def generate(model: str) -> Response:
    """Return the response to the current request when its job has finished. Raises: FramemillError."""
    spec = models().called(model.strip("/"), Kind.TEXT2IMG)
    auth.check_model(spec.name)
    digest = hashlib.sha256(f"{spec.name} {request.headers.get('Accept', '')} ".encode())
    mapped = map_body(read_body(digest), spec)
    _check_slots(spec, mapped)
    # Apart from the requests of other protocols, which show and stop those of a key.
    requests = HeldRequests(store(), f"{PROTOCOL} {auth.caller().key_id}")
    try:
        new = _new_request(requests.key_id, mapped)
        connection = hold(requests, lambda: new, digest.hexdigest(), random=mapped.is_random)
        with connection.let_go_on_error():
            return _response(connection, _finished_job(connection, mapped))
    except ClientDisconnected:
        return unread_response()


def _check_slots(spec: ModelSpec, mapped: Mapped) -> None:
    """Raise ModelLoading if no slot can run the model now, unless the client asks to wait for one."""
    asked = request.headers.get("X-Wait-For-Model")
    waits = bool(mapped.waits) if asked is None else asked.strip().lower() in ("true", "1", "yes")
    if waits or queries.can_run(store(), spec.name):
        return
    time.sleep(PAUSE_S)
    if not queries.can_run(store(), spec.name):
        raise ModelLoading(f"Model {spec.name} is currently loading: no slot can run it now")


def _new_request(key_id: str, mapped: Mapped) -> HeldRequest:
    seed = secrets.randbelow(2**32) if mapped.is_random else mapped.values["seed"]
    return HeldRequest(key_id, secrets.token_hex(8), (new_job_id(),), seed, new_holder())


def _finished_job(connection: HeldConnection, mapped: Mapped) -> Job:
    """Submit the job unless it exists, and return it when it has finished. Raises: ClientDisconnected."""
    job_ids = connection.request.job_ids
    if connection.request.is_repeat and exists(connection.request):
        return connection.wait(job_ids)[0]
    prepared = replace(_prepared(mapped, connection.request.seed), job_id=job_ids[0])
    with waiting.listening(prepared.job_id) as listener:  # before the job is accepted: it need not be read again
        connection.check()
        return connection.wait_for(accept(prepared).job, listener)


def _prepared(mapped: Mapped, seed: int) -> Prepared:
    """Check all fields and store the pictures. Raises: InvalidRequest, Forbidden, Unavailable."""
    values = {**mapped.values, "seed": seed, "may_be_animated": True}
    try:
        pictures = attachments.take(values, mapped.uploads)
        return prepare(values, pictures, mapped.warnings, idempotency_key="", protocol=PROTOCOL)
    except InvalidRequest as exc:
        raise rename_fields(exc, mapped.names) from exc


def _response(connection: HeldConnection, job: Job) -> Response:
    """Return the output of a job. Raises: GenerationEnded, ObjectNotFound, Unavailable."""
    if job.state is not JobState.SUCCEEDED:
        error = job.error or {}
        message = str(error.get("message") or f"the job is {job.state}")
        raise GenerationEnded(STATUS[job.state] or 500, str(error.get("code") or job.state), message)
    output = job.outputs[0]
    response = Response(connection.deliver(_content(output), output.bytes), direct_passthrough=True)
    response.content_length = output.bytes
    set_file_headers(response, output.media_type, f"{job.job_id}.{output.key.rpartition('.')[2]}")
    request_log.set_request_id(job.job_id)  # as Hugging Face's clients show it
    for warning in job.all_warnings:  # the Python client logs them, each topic once
        text = warning.encode("ascii", "replace").decode()[:_MAX_WARNING_CHARS].replace(";", ",")
        response.headers.add("X-HF-Warning", f"{text.partition(' ')[0]}; {text}")
    return response


def _content(output: Output) -> Iterator[bytes]:
    return iter(objects().read(output.key))
