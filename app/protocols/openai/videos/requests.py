"""``/v1/videos``: submit, show, list, remix and delete videos, and send their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Response, jsonify, request
from marshmallow import INCLUDE, validate

from app.access import auth
from app.downloads import finished_job, send_object, set_file_headers
from app.extensions import dispatcher, objects, store
from app.fields import Text, TextSchema, Whole, body_of, load, query_of
from app.held import ClientDisconnected, HeldConnection, exists, unread_response
from app.protocols.openai.videos.mapping import REFERENCE_FIELDS, map_video
from app.protocols.openai.videos.sprite_sheets import sheet_of
from app.protocols.openai.videos.views import REMIXED_FROM, poll_after_ms, video_view
from app.protocols.openai.wire.access import OpenAIError
from app.protocols.openai.wire.holding import held_connection
from app.protocols.openai.wire.lora_lists import REPEATED_FIELDS
from app.protocols.openai.wire.mapping import Mapped
from app.protocols.openai.wire.schemas import REMIX
from app.protocols.openai.wire.states import PROTOCOL, error_of
from app.submit import Prepared, forecast_of, prepare, submit_batches
from jobs.errors import JobNotFound, NotReady, ObjectNotFound
from jobs.forecast import OVER
from jobs.record import Job, Output, new_job_id
from jobs.requests.custom import EndpointRequest
from jobs.requests.hires_variation_prior import random_seed
from jobs.store import listing
from jobs.store.listing import JobFilter
from jobs.strict_json import dumps
from jobs.submission import Submission

#: Videos of one page of the list, at most and by default.
MAX_PAGE, DEFAULT_PAGE = 100, 20
VIDEO, THUMBNAIL, SPRITE_SHEET = "video", "thumbnail", "spritesheet"


class _ListSchema(TextSchema):
    class Meta:
        unknown = INCLUDE

    after = Text()
    limit = Whole(validate=validate.Range(1, MAX_PAGE, error="must be between {min} and {max}"))
    order = Text(validate=validate.OneOf(("asc", "desc"), error="must be asc or desc"))


class _ContentSchema(TextSchema):
    class Meta:
        unknown = INCLUDE

    variant = Text(
        validate=validate.OneOf((VIDEO, THUMBNAIL, SPRITE_SHEET), error="must be video, thumbnail or spritesheet")
    )


_LIST, _CONTENT = _ListSchema(), _ContentSchema()


def create() -> Response:
    """Submit a video; a repeat of the request gets the same one."""
    body = body_of(request, repeated=(*REFERENCE_FIELDS, *REPEATED_FIELDS))
    mapped = map_video(body)
    if mapped.problems or mapped.spec is None:
        _prepare(mapped, 0)  # finds what else is wrong, and raises
    assert mapped.spec is not None
    auth.check_model(mapped.spec.name)
    try:
        connection = held_connection("videos", body, mapped.fields, 1)
        with connection.let_go_on_error():
            job = _submitted(connection, mapped)
            text = dumps(video_view(job, forecast_of(job))).encode()
    except ClientDisconnected:
        return unread_response()
    response = Response(connection.deliver([text], len(text)), mimetype="application/json")
    response.content_length = len(text)
    return response


def _submitted(connection: HeldConnection, mapped: Mapped) -> Job:
    """Submit the job unless it exists. Raises: ClientDisconnected, InvalidRequest, QueueFull, Unavailable."""
    [job_id] = connection.request.job_ids
    if not (connection.request.is_repeat and exists(connection.request)):
        prepared = _prepare(mapped, connection.request.seed)
        connection.check()
        submit_batches(prepared, {job_id: prepared.submission.request})
    return store().get(job_id)


def _prepare(mapped: Mapped, seed: int) -> Prepared:
    """Check all fields, and store the input image. Raises: InvalidRequest, Forbidden, Unavailable."""
    values: Mapping[str, Any] = mapped.values
    if mapped.fields.get("seed", -1) < 0:
        values = {**values, "seed": seed}
    with mapped.problems.collected(mapped.renamed):
        prepared = prepare(
            values, mapped.pictures, mapped.warnings, refused=mapped.refused, idempotency_key="", protocol=PROTOCOL
        )
    mapped.problems.check()
    return prepared


def visible_video(video_id: str) -> Job:
    """Return the job of a video, which any protocol may have submitted. Raises: JobNotFound."""
    job = auth.visible_job(video_id)
    if job.command or not job.request.kind.is_video:
        raise JobNotFound(f"video {video_id[:64]!r} does not exist")
    return job


def show(job: Job) -> Response:
    """Return a video as it is now; the header says when to look again."""
    forecast = forecast_of(job)
    response = jsonify(video_view(job, forecast))
    if not job.state.is_terminal:
        response.headers["OpenAI-Poll-After-Ms"] = str(poll_after_ms(forecast))
    return response


def list_page() -> dict[str, Any]:
    """Return one page of the caller's videos. Raises: InvalidRequest."""
    wanted, _ = load(_LIST, query_of(request))
    limit, after = wanted.get("limit", DEFAULT_PAGE), wanted.get("after")
    jobs = JobFilter(key_id=auth.caller().scope, only_videos=True, oldest_first=wanted.get("order") == "asc")
    page = listing.page(store(), jobs, limit=limit, after=after)
    open_ids = [job.job_id for job in page.jobs if not job.state.is_terminal]
    forecasts = dict(zip(open_ids, store().forecast(*open_ids), strict=True))
    return {
        "object": "list",
        "data": [video_view(job, forecasts.get(job.job_id, OVER)) for job in page.jobs],
        "first_id": page.jobs[0].job_id if page.jobs else None,
        "last_id": page.jobs[-1].job_id if page.jobs else None,
        "has_more": page.next is not None,
    }


def delete(video_id: str) -> dict[str, Any]:
    """Stop a video and delete its record and its files. Deleting it again changes nothing. Raises: JobNotFound."""
    key_id = store().deleted_key(video_id)
    if key_id is None or not auth.caller().owns(key_id):
        dispatcher().delete(visible_video(video_id).job_id)
    return {"id": video_id, "object": "video.deleted", "deleted": True}


def remix(old: Job) -> Job:
    """Submit a video once more with another prompt. Raises: InvalidRequest, QueueFull, Unavailable."""
    values, _ = load(REMIX, body_of(request))
    auth.check_model(old.request.model)
    assert not isinstance(old.request, EndpointRequest)  # it makes no videos
    seed = old.request.seed if values.get("seed") is None else values["seed"]
    again = replace(old.request, prompt=values["prompt"], seed=random_seed() if seed < 0 else seed)
    submission = replace(
        Submission.again(old, auth.caller()), request=again, retry_of=None, protocol=PROTOCOL,
        sent={REMIXED_FROM: old.job_id},
    )  # fmt: skip
    return dispatcher().submit(submission, new_job_id(), chosen_by_client=False).job


def content(video_id: str) -> Response:
    """Return a file of a video. Raises: InvalidRequest, OpenAIError, ObjectNotFound, ResultExpired."""
    wanted, _ = load(_CONTENT, query_of(request))
    job = visible_video(video_id)
    if error := error_of(job):
        raise OpenAIError(error["code"], f"this video has no content: {error['message']}", 400)
    try:
        output = finished_job(video_id).outputs[0]
    except NotReady as exc:
        raise OpenAIError("video_not_ready", exc.message, 400) from exc
    variant = wanted.get("variant", VIDEO)
    if variant == SPRITE_SHEET:
        response = Response(sheet_of(output))
        set_file_headers(response, "image/jpeg", f"{video_id}-{variant}.jpg")
        return response
    return _file(job, output if variant == VIDEO else output.thumbnail or output.poster, f"{video_id}-{variant}")


def _file(job: Job, output: Output | None, name: str) -> Response:
    if output is None:
        raise ObjectNotFound("this video has no thumbnail: THUMBNAIL_PX=0 makes none")
    try:
        return send_object(objects(), output, name=name, expires_at_ms=job.expires_at_ms)
    except ObjectNotFound:
        raise ObjectNotFound("the output was removed from the object store") from None
