"""From OpenAI's fields of a video to those of the native API."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from app import own_outputs
from app.attachments import UNSTORED, Pictures
from app.extensions import models
from app.media import recordings
from app.protocols.openai.wire import schemas
from app.protocols.openai.wire.input_images import InputImage, taken
from app.protocols.openai.wire.lora_lists import gathered
from app.protocols.openai.wire.mapping import Mapped, add_size, checked, native_values, sent_names
from jobs.errors import Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.suggestions import listed

#: Fields with the first image of a video, or with the video to change, in forms and in JSON.
REFERENCE_FIELDS = (
    "input_reference", "input_reference[image_url]", "input_reference[video_url]", "input_reference[]", "image",
    "image[]", "video",
)  # fmt: skip
#: Fields of the native API with one more file each.
FURTHER_FIELDS = {"last_image": "an image", "audio": "a sound"}
_DATA_URL = re.compile(r"data:([^;,]*)", re.IGNORECASE)
_LINK = re.compile(r"https?:", re.IGNORECASE)
_FILM_TYPES = ("video/mp4", "video/webm", "video/quicktime", "image/gif")
_FILM_ENDINGS = (".mp4", ".m4v", ".mov", ".webm", ".gif")


def map_video(body: Mapping[str, Any]) -> Mapped:
    """Check and translate a request for a video.

    Args:
        body: fields of a JSON body, or of a form with lists under :data:`REFERENCE_FIELDS`.

    Returns:
        The request, with the problems of its fields.

    Raises:
        ModelNotFound.
    """
    texts = {name: value for name, value in gathered(body).items() if name not in {*REFERENCE_FIELDS, *FURTHER_FIELDS}}
    values, warnings, problems = checked(schemas.VIDEO, texts)
    references = taken(body, REFERENCE_FIELDS, problems, "an image or a video")
    further = {name: taken(body, (name,), problems, what) for name, what in FURTHER_FIELDS.items()}
    if not str(values.get("prompt", "")).strip():
        problems.add([Problem("prompt", "is required: a text that says what to show")])
    if len(references) > 1:
        problems.add([Problem(references[1].field, f"must be one image or video, not {len(references)}")])
    is_film = bool(references) and _is_film(references[0])
    inputs = {"video" if is_film else "image": references, **further}
    inputs = {name: sent for name, sent in inputs.items() if sent}
    kind, name, registry = _kind(inputs), values.get("model"), models()
    spec = registry.called(name, kind) if name else registry.default_for(kind, inputs)
    if spec is None:
        known = listed(registry.names())
        problems.add([Problem("model", f"is required: no model here has {kind}; known: {known or 'none'}")])
    elif kind not in spec.kinds:
        problems.add([Problem("model", f"does not offer {kind}: {spec.name} has {', '.join(spec.kinds)}", name)])
    mapped = Mapped(spec, native_values(values), Pictures(), problems, warnings, sent_names(values), values)
    mapped.values |= {"kind": kind, "model": spec.name if spec else None, "output_format": "mp4"}
    for input_name, sent in inputs.items():
        mapped.pictures.contents[input_name], mapped.values[input_name] = sent[0].content, UNSTORED
        mapped.names[input_name] = sent[0].field
    add_size(mapped, values, problems)
    if spec is not None:
        _add_frames(mapped, values, spec)
    return mapped


def _kind(inputs: Collection[str]) -> Kind:
    if "video" in inputs:
        return Kind.VIDEO2VIDEO
    return Kind.IMG2VIDEO if {"image", "last_image"} & {*inputs} else Kind.TEXT2VIDEO


def _is_film(sent: InputImage) -> bool:
    """Return whether a reference is a video, by its content where that is here, else by what its address says."""
    if sent.field == "video" or sent.field.endswith("[video_url]"):
        return True
    if isinstance(sent.content, bytes):
        return recordings.is_film(sent.content)
    text = sent.content.strip()
    if own_outputs.is_reference(text):
        return own_outputs.is_video(text)
    if match := _DATA_URL.match(text):
        return match[1].lower() in _FILM_TYPES
    if _LINK.match(text):
        return urlsplit(text).path.lower().endswith(_FILM_ENDINGS)
    with suppress(ValueError):
        return recordings.is_film(base64.b64decode(text[:64].replace("-", "+").replace("_", "/")))
    return False


def _add_frames(mapped: Mapped, values: Mapping[str, Any], spec: ModelSpec) -> None:
    """Add the number of frames, which ``seconds`` names unless it was sent itself."""
    if "seconds" not in values or "frames" in mapped.values:
        return
    frames = min(values["seconds"] * values.get("fps", spec.default("fps")), 2.0**31)
    # The nearest number of frames that the model makes: a second at 8 frames per second may be 9 of them.
    mapped.values["frames"] = max(0, math.floor((frames - 1) / spec.frames_step + 0.5)) * spec.frames_step + 1
    mapped.names["frames"] = "seconds"
