"""``/v1/images``: from a body to the response with the images, across repeats of the client."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from flask import Response, request

from app.access import auth
from app.extensions import dispatcher
from app.fields import body_of
from app.held import ClientDisconnected, HeldConnection, exists, unread_response
from app.protocols.openai.images import streams, views
from app.protocols.openai.images.mapping import map_images
from app.protocols.openai.wire.access import OpenAIError
from app.protocols.openai.wire.holding import held_connection
from app.protocols.openai.wire.input_images import IMAGE_FIELDS
from app.protocols.openai.wire.lora_lists import REPEATED_FIELDS as LORA_FIELDS
from app.protocols.openai.wire.mapping import Mapped
from app.protocols.openai.wire.states import PROTOCOL, error_of
from app.server import request_log
from app.submit import Prepared, prepare, submit_batches
from jobs.errors import JobNotFound
from jobs.models.spec import ModelSpec
from jobs.record import Job
from jobs.requests.generation import GenerationRequest
from jobs.states import JobState
from jobs.store.held_requests import HeldRequest
from jobs.strict_json import dumps


@dataclass(frozen=True)
class Route:
    """One of the routes that make images."""

    name: str
    #: Beginning of the names of its events.
    events: str
    needs_image: bool = False
    needs_prompt: bool = True


#: Fields of a form that may be repeated.
REPEATED_FIELDS = (*IMAGE_FIELDS, *LORA_FIELDS)
GENERATIONS = Route("generations", "image_generation")
EDITS = Route("edits", "image_edit", needs_image=True)
VARIATIONS = Route("variations", "image_edit", needs_image=True, needs_prompt=False)


def respond(route: Route) -> Response:
    """Return the response to the current request: when its images are finished, or as events until then."""
    body = body_of(request, repeated=REPEATED_FIELDS)
    mapped = map_images(body, needs_image=route.needs_image, needs_prompt=route.needs_prompt)
    if mapped.problems or mapped.spec is None:
        _prepare(mapped, 1, 0)  # finds what else is wrong, and raises
    assert mapped.spec is not None
    auth.check_model(mapped.spec.name)
    images = int(mapped.fields.get("n", 1))
    jobs = -(-images // _most_images(mapped.spec))
    try:
        connection = held_connection(route.name, body, mapped.fields, jobs)
        with connection.let_go_on_error():
            _submit(connection, mapped, images)
            if mapped.fields.get("stream"):
                response = streams.respond(connection, route.events, mapped.fields, check_succeeded)
            else:
                response = _response(connection, mapped)
    except ClientDisconnected:
        return unread_response()
    request_log.set_request_id(connection.request.job_ids[0])
    return response


def _most_images(spec: ModelSpec) -> int:
    return max(1, int(spec.limit("num_images").high))


def shares(images: int, jobs: int) -> list[int]:
    """Return the number of images of each job, as equal as possible, the larger ones first."""
    least, more = divmod(images, jobs)
    return [least + (job < more) for job in range(jobs)]


def _submit(connection: HeldConnection, mapped: Mapped, images: int) -> None:
    """Submit the jobs unless they exist. Raises: ClientDisconnected, InvalidRequest, QueueFull, Unavailable."""
    if connection.request.is_repeat and exists(connection.request):
        return
    parts = shares(images, len(connection.request.job_ids))
    prepared = _prepare(mapped, parts[0], connection.request.seed)
    connection.check()
    submit_batches(prepared, _batches(prepared.submission.request, connection.request, parts))


def _prepare(mapped: Mapped, images: int, seed: int) -> Prepared:
    """Check all fields, and store the input images. Raises: InvalidRequest, Forbidden, Unavailable."""
    previews = bool(mapped.fields.get("stream") and mapped.fields.get("partial_images"))
    values = {**mapped.values, "num_images": images}
    if mapped.fields.get("seed", -1) < 0:
        values["seed"] = seed
    with mapped.problems.collected(mapped.renamed):
        prepared = prepare(
            values, mapped.pictures, mapped.warnings, refused=mapped.refused, idempotency_key="", protocol=PROTOCOL,
            preview=previews,
        )  # fmt: skip
    mapped.problems.check()
    return prepared


def _batches(job_request: GenerationRequest, held: HeldRequest, parts: list[int]) -> Mapping[str, GenerationRequest]:
    """Return the request of each job; the seeds continue from one to the next."""
    batches = {}
    first = 0
    for job_id, images in zip(held.job_ids, parts, strict=True):
        batches[job_id] = replace(job_request.batch(held.seed, first), num_images=images)
        first += images
    return batches


def _response(connection: HeldConnection, mapped: Mapped) -> Response:
    """Return the response when all jobs have finished. Raises: ClientDisconnected, OpenAIError."""
    jobs = connection.wait(connection.request.job_ids)
    for job in jobs:
        check_succeeded(job, connection.request)
    text = dumps(views.images_body(jobs, mapped.fields)).encode()
    response = Response(connection.deliver([text]), mimetype="application/json")
    response.content_length = len(text)
    return response


def check_succeeded(job: Job, held: HeldRequest) -> None:
    """Raise OpenAIError if a job has ended without its images; the other jobs of the request are stopped."""
    if (error := error_of(job)) is None:
        return
    for job_id in held.job_ids:
        with suppress(JobNotFound):
            dispatcher().cancel(job_id)
    raise OpenAIError(error["code"], error["message"], 500 if job.state is JobState.FAILED else 400)
