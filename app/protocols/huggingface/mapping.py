"""From the body of a request to fields of the native API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask import request

from app.extensions import settings
from app.fields import load
from app.protocols.huggingface import schemas
from jobs.errors import InvalidRequest, Problem
from jobs.formats import FORMATS, IMAGE_FORMATS, VIDEO_FORMATS
from jobs.models.spec import ModelSpec
from jobs.strict_json import is_picture

#: Native name → the parameter.
_PARAMETERS = {
    "negative_prompt": "negative_prompt", "steps": "num_inference_steps", "guidance_scale": "guidance_scale",
    "width": "width", "height": "height", "seed": "seed", "scheduler": "scheduler", "frames": "num_frames",
    "fps": "fps", "strength": "strength", "mask": "mask_image", "clip_skip": "clip_skip",
}  # fmt: skip
#: How base64 of a PNG, JPEG, WebP or GIF begins. No prompt does.
_PICTURE = re.compile(r"\s*(?:data:image/|iVBORw0KGgo|/9j/|UklGR|R0lGOD)", re.IGNORECASE)


@dataclass(frozen=True)
class Mapped:
    """A request with the native API's field names."""

    #: Fields; pictures are as they were sent.
    values: dict[str, Any]
    #: Bytes of the picture that is the whole body.
    uploads: dict[str, bytes]
    warnings: list[str]
    #: Native field name → the name that the client sent.
    names: dict[str, str]
    #: What the body says about waiting for a slot; None: nothing.
    waits: bool | None = None

    @property
    def is_random(self) -> bool:
        """Whether equal requests ask for different outputs."""
        return self.values.get("seed", -1) < 0


def map_body(body: Mapping[str, Any] | bytes, spec: ModelSpec) -> Mapped:
    """Check and translate a body: JSON, or the bytes of a picture. Raises: InvalidRequest."""
    if isinstance(body, bytes):
        return Mapped({"model": spec.name, **_format(spec)}, {"image": body}, [], {"image": "inputs"})
    fields, unknown = load(schemas.REQUEST, body)
    parameters = {name: value for name, value in (fields.get("parameters") or {}).items() if value is not None}
    size = parameters.pop("target_size", None) or {}
    names = {name: f"parameters.{sent}" for name, sent in _PARAMETERS.items()}
    for side in ("width", "height"):
        if size.get(side) is not None and side not in parameters:
            parameters[side], names[side] = size[side], f"parameters.target_size.{side}"
    values = {name: parameters[sent] for name, sent in _PARAMETERS.items() if sent in parameters}
    inputs, prompt = fields["inputs"], parameters.get("prompt")
    if is_image(inputs, spec, has_prompt=prompt is not None):
        values |= {"image": inputs, **({} if prompt is None else {"prompt": prompt})}
        names |= {"image": "inputs", "prompt": "parameters.prompt"}
    else:
        values["prompt"] = inputs
        names |= {"prompt": "inputs", "image": "inputs"}
        if prompt is not None:
            raise InvalidRequest(Problem("inputs", "must be an image, or the prompt without `parameters.prompt`"))
    known = schemas.HuggingFaceParametersSchema._declared_fields.keys()
    ignored = [f"parameters.{name}" for name in parameters if name not in known]
    warnings = [f"unknown field {name[:80]!r} was ignored" for name in [*unknown, *ignored][:20]]
    waits = (fields.get("options") or {}).get("wait_for_model")
    return Mapped({**values, "model": spec.name, **_format(spec)}, {}, warnings, names, waits)


def is_image(inputs: str, spec: ModelSpec, *, has_prompt: bool) -> bool:
    """Return whether ``inputs`` is an image, else it is the prompt."""
    takes = [bool(kind.inputs) for kind in spec.kinds]
    if has_prompt or (takes and all(takes)):
        return True
    return _PICTURE.match(inputs) is not None and is_picture("".join(inputs.split()))


def _format(spec: ModelSpec) -> dict[str, str]:
    """Return the format of the output that the header ``Accept`` prefers to the server's; nothing if it has none."""
    is_video, options = all(kind.is_video for kind in spec.kinds), settings().outputs
    accepted = {
        name: request.accept_mimetypes.quality(FORMATS[name].media_type)
        for name in (VIDEO_FORMATS if is_video else IMAGE_FORMATS)
    }
    best = max(accepted, key=accepted.__getitem__)
    default = options.video_format if is_video else options.image_format
    return {} if accepted[best] == accepted[default] else {"output_format": best}
