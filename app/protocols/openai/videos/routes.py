"""The routes for videos."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify

from app.extensions import dispatcher
from app.openapi.answers import TEXT
from app.openapi.blueprint import FORM, JSON
from app.openapi.parameters import IDEMPOTENCY_KEY
from app.protocols.openai.videos import requests as videos
from app.protocols.openai.wire import answers, schemas
from app.protocols.openai.wire.access import OpenAIError
from app.protocols.openai.wire.blueprints import new_blueprint

blueprint = new_blueprint("openai-videos")

_LIST: list[dict[str, Any]] = [
    {"in": "query", "name": "after", "description": "`last_id` of the previous page.", "schema": TEXT},
    {"in": "query", "name": "limit", "description": "Videos per page.",
     "schema": {"type": "integer", "minimum": 1, "maximum": videos.MAX_PAGE, "default": videos.DEFAULT_PAGE}},
    {"in": "query", "name": "order", "description": "By the time of creation.",
     "schema": {"type": "string", "enum": ["asc", "desc"], "default": "desc"}},
]  # fmt: skip
_VARIANT = {
    "in": "query",
    "name": "variant",
    "description": "The video, a small picture of it, or frames from its whole length in one picture.",
    "schema": {"type": "string", "enum": [videos.VIDEO, videos.THUMBNAIL, videos.SPRITE_SHEET], "default": "video"},
}
_UNKNOWN = "Unknown id."
_FULL = "Too many jobs are waiting; `Retry-After` has the seconds to wait."


@blueprint.route("/v1/videos", methods=["POST"])
@blueprint.doc(parameters=[IDEMPOTENCY_KEY])
@blueprint.body(schemas.OpenAIVideoSchema, {"prompt": "a yellow star"}, JSON)
@blueprint.body(schemas.OpenAIVideoForm, {"prompt": "a yellow star"}, FORM)
@blueprint.response(200, answers.OpenAIVideoAnswer, description="The video, which is accepted and will not be lost.")
@blueprint.error(404, "There is no such model.")
@blueprint.error(429, _FULL)
def create_video() -> Response:
    """Submit a video."""
    return videos.create()


@blueprint.route("/v1/videos", methods=["GET"])
@blueprint.doc(parameters=_LIST)
@blueprint.response(200, answers.OpenAIVideosAnswer, description="One page.")
@blueprint.error(400, "A parameter is wrong; `param` names it.")
def list_videos() -> Response:
    """List videos, those of other protocols included."""
    return jsonify(videos.list_page())


@blueprint.route("/v1/videos/<video_id>", methods=["GET"])
@blueprint.response(200, answers.OpenAIVideoAnswer, description="The video; a failed one has `error`.")
@blueprint.error(404, _UNKNOWN)
def get_video(video_id: str) -> Response:
    """Return a video with its progress."""
    return videos.show(videos.visible_video(video_id))


@blueprint.route("/v1/videos/<video_id>", methods=["DELETE"])
@blueprint.response(200, answers.OpenAIVideoDeletedAnswer, description="It is deleted, or will be in a moment.")
@blueprint.error(404, _UNKNOWN)
def delete_video(video_id: str) -> Response:
    """Stop a video, and delete its record and its files."""
    return jsonify(videos.delete(video_id))


@blueprint.route("/v1/videos/<video_id>/cancel", methods=["POST"])
@blueprint.response(200, answers.OpenAIVideoAnswer, description="The video.")
@blueprint.error(404, _UNKNOWN)
def cancel_video(video_id: str) -> Response:
    """Stop a video; its record stays."""
    return videos.show(dispatcher().cancel(videos.visible_video(video_id).job_id)[0])


@blueprint.route("/v1/videos/<video_id>/content", methods=["GET"])
@blueprint.download("The file.", _VARIANT)
@blueprint.error(400, "There is no content (yet), or a parameter is wrong.")
@blueprint.error(404, "Unknown id, or the file is no longer stored; the code says which.")
@blueprint.error(410, "The files of the video have expired.")
def get_video_content(video_id: str) -> Response:
    """Download a video, its thumbnail or its sprite sheet."""
    return videos.content(video_id)


@blueprint.route("/v1/videos/<video_id>/remix", methods=["POST"])
@blueprint.body(schemas.OpenAIRemixSchema, {"prompt": "a yellow star"}, JSON, FORM)
@blueprint.response(200, answers.OpenAIVideoAnswer, description="The new video.")
@blueprint.error(404, _UNKNOWN)
@blueprint.error(429, _FULL)
def remix_video(video_id: str) -> Response:
    """Submit a video once more with another prompt; all other fields, the seed included, stay."""
    return videos.show(videos.remix(videos.visible_video(video_id)))


def _unsupported(path: str, what: str) -> None:
    """Add a route of OpenAI's API that no model here can serve; else its path would be that of a video."""

    def refuse() -> Response:
        raise OpenAIError("unsupported", f"this server cannot {what} videos", 400)

    refuse.__doc__, refuse.__name__ = f"Refused: no model here can {what} videos.", f"{path}_videos"
    described = blueprint.error(400, "Always.")(refuse)
    blueprint.route(f"/v1/videos/{path}", methods=["POST"])(described)


for _path, _what in (("edits", "edit"), ("extensions", "extend"), ("characters", "keep characters of")):
    _unsupported(_path, _what)
