"""From OpenAI's fields of a video to those of the native API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.attachments import UNSTORED, Pictures
from app.extensions import models
from app.protocols.openai.wire import schemas
from app.protocols.openai.wire.input_images import taken
from app.protocols.openai.wire.lora_lists import gathered
from app.protocols.openai.wire.mapping import Mapped, add_size, checked, native_values, sent_names
from jobs.errors import Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.suggestions import listed

#: Fields with the first image of a video, in forms and in JSON.
REFERENCE_FIELDS = ("input_reference", "input_reference[image_url]", "input_reference[]", "image", "image[]")


def map_video(body: Mapping[str, Any]) -> Mapped:
    """Check and translate a request for a video.

    Args:
        body: fields of a JSON body, or of a form with lists under :data:`REFERENCE_FIELDS`.

    Returns:
        The request, with the problems of its fields.

    Raises:
        ModelNotFound.
    """
    texts = {name: value for name, value in gathered(body).items() if name not in REFERENCE_FIELDS}
    values, warnings, problems = checked(schemas.VIDEO, texts)
    images = taken(body, REFERENCE_FIELDS, problems)
    if not str(values.get("prompt", "")).strip():
        problems.add([Problem("prompt", "is required: a text that says what to show")])
    if len(images) > 1:
        problems.add([Problem(images[1].field, f"must be one image, not {len(images)}")])
    kind, name, registry = Kind.IMG2VIDEO if images else Kind.TEXT2VIDEO, values.get("model"), models()
    spec = registry.called(name, kind) if name else registry.default_for(kind)
    if spec is None:
        known = listed(registry.names())
        problems.add([Problem("model", f"is required: no model here has {kind}; known: {known or 'none'}")])
    elif kind not in spec.kinds:
        problems.add([Problem("model", f"does not offer {kind}: {spec.name} has {', '.join(spec.kinds)}", name)])
    mapped = Mapped(spec, native_values(values), Pictures(), problems, warnings, sent_names(values), values)
    mapped.values |= {"kind": kind, "model": spec.name if spec else None, "output_format": "mp4"}
    if images:
        mapped.pictures.contents["image"], mapped.values["image"] = images[0].content, UNSTORED
        mapped.names["image"] = images[0].field
    add_size(mapped, values, problems)
    if spec is not None:
        _add_frames(mapped, values, spec)
    return mapped


def _add_frames(mapped: Mapped, values: Mapping[str, Any], spec: ModelSpec) -> None:
    """Add the number of frames, which ``seconds`` names unless it was sent itself."""
    if "seconds" not in values or "frames" in mapped.values:
        return
    fps = values.get("fps", spec.default("fps"))
    mapped.values["frames"] = max(1, round(min(values["seconds"] * fps, 2.0**31)))
    mapped.names["frames"] = "seconds"
