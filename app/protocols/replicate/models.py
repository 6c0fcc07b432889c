"""Models and their versions. A model has any owner, and one version."""

from __future__ import annotations

import re
from typing import Any

from app.extensions import models
from app.protocols.replicate import schemas
from jobs.errors import ModelNotFound
from jobs.models.spec import ALL_INPUTS, Kind, ModelSpec
from jobs.prediction_view import DEFAULT_OWNER, version_of
from jobs.requests.inputs import FILES

#: Nobody knows when a model was made.
_CREATED = "1970-01-01T00:00:00Z"
#: Later than the versions whose lists clients take for iterators.
_COG_VERSION = "0.16.0"
#: ``owner/name:version``, of which a part may be missing.
_REFERENCE = re.compile(r"(?:(?P<owner>[^/:]+)/)?(?P<name>[^/:]+)(?::(?P<version>[^/:]+))?")
#: Input → the limit of the model that applies to it.
_LIMITS = {"num_inference_steps": "steps", "guidance_scale": "guidance_scale", "width": "width", "height": "height",
           "num_outputs": "num_images", "num_frames": "frames", "fps": "fps", "prompt_strength": "strength",
           "clip_skip": "clip_skip"}  # fmt: skip
_FLOATS = ("guidance_scale", "fps", "prompt_strength")


def of_path(owner: str, name: str) -> ModelSpec:
    """Return the model with the alias ``owner/name``, or of the name with any owner. Raises: ModelNotFound."""
    try:
        return models().called(f"{owner}/{name}", Kind.TEXT2IMG)
    except ModelNotFound:
        return models().called(name, Kind.TEXT2IMG)


def of_version(version: str) -> tuple[str, ModelSpec]:
    """Return the owner and the model that a version names. Raises: ModelNotFound."""
    by_id = {version_of(spec.name): spec for spec in models()}
    if version in by_id:
        return DEFAULT_OWNER, by_id[version]
    found = _REFERENCE.fullmatch(version)
    if found is None or (found["version"] and found["version"] not in by_id):
        raise ModelNotFound(f"version {version[:80]!r} does not exist")
    if found["version"]:
        return found["owner"] or DEFAULT_OWNER, by_id[found["version"]]
    owner = found["owner"] or DEFAULT_OWNER
    return owner, of_path(owner, found["name"])


def model_view(owner: str, spec: ModelSpec, base_url: str) -> dict[str, Any]:
    """Return a model as JSON."""
    return {
        "url": f"{base_url}/v1/models/{owner}/{spec.name}",
        "owner": owner,
        "name": spec.name,
        "description": spec.description or None,
        "visibility": "public",
        "github_url": None,
        "paper_url": None,
        "license_url": None,
        "run_count": 0,
        "cover_image_url": None,
        "default_example": None,
        "latest_version": version_view(spec),
    }


def version_view(spec: ModelSpec) -> dict[str, Any]:
    """Return the version of a model as JSON."""
    return {
        "id": version_of(spec.name),
        "created_at": _CREATED,
        "cog_version": _COG_VERSION,
        "openapi_schema": _openapi_schema(spec),
    }


def _openapi_schema(spec: ModelSpec) -> dict[str, Any]:
    is_video = all(kind.is_video for kind in spec.kinds)
    uri = {"type": "string", "format": "uri"}
    output = uri if is_video else {"type": "array", "items": uri}
    required = ["prompt"] if all(spec.needs_prompt(kind) for kind in spec.kinds) else []
    schemas_by_name = {
        "Input": {"type": "object", "title": "Input", "required": required, "properties": _properties(spec, is_video)},
        "Output": {"title": "Output", **output},
    }
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "paths": {},
        "components": {"schemas": schemas_by_name},
    }


def _properties(spec: ModelSpec, is_video: bool) -> dict[str, Any]:
    """Return the inputs that a model takes, with its defaults and limits."""
    inputs = {name for kind in spec.kinds for name in ALL_INPUTS if name != "mix" and spec.takes(name, kind)}
    names = ["prompt", "negative_prompt", "seed", "num_inference_steps", "guidance_scale", "width", "height"]
    names += ["aspect_ratio", *sorted(inputs)]
    names += ["control_image", "control_type", "control_strength"] if spec.controls else []
    names += ["num_frames", "fps"] if is_video else ["num_outputs"]
    names += ["prompt_strength"] if any(kind.has_strength for kind in spec.kinds) else []
    names += ["quality"] if spec.quality else []
    names += ["scheduler"] if spec.schedulers else []
    names += ["clip_skip"] if spec.offers("clip_skip") else []
    names += ["output_format", "output_quality"]
    return {name: {"x-order": order, **_property(name, spec)} for order, name in enumerate(names)}


def _property(name: str, spec: ModelSpec) -> dict[str, Any]:
    field = schemas.INPUT.fields[name]
    described = {"title": name.replace("_", " ").capitalize(), "description": field.metadata["description"]}
    uri = {"type": "string", "format": "uri"}
    if name in (*FILES, "control_image"):
        return {**described, **uri}
    if name == "images":
        return {**described, "type": "array", "items": uri, "maxItems": int(spec.limit("images").high)}
    if name in ("seed", "output_quality"):
        return {**described, "type": "integer"}
    if name in ("quality", "scheduler"):
        return {**described, "type": "string", "enum": list(spec.qualities if name == "quality" else spec.schedulers)}
    if name == "control_type":
        return {**described, "type": "string", "enum": list(spec.controls)}
    if name == "control_strength":
        return {**described, "type": "number"}
    if name not in _LIMITS:
        return {**described, "type": "string"}
    limit, default = spec.limit(_LIMITS[name]), None if name == "clip_skip" else spec.default(_LIMITS[name])
    kind = float if name in _FLOATS else int
    found = {"type": "number" if kind is float else "integer", "minimum": kind(limit.low), "maximum": kind(limit.high)}
    return {**described, **found, **({} if default is None else {"default": kind(default)})}
