"""Map the body of Devoid's Kandinsky API, ``text2img`` and ``mix2images``, to fields of the native API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE

from app.fields import Items, Number, PictureText, Text, TextSchema, Whole, load
from app.payloads import MappedBody
from app.payloads.passthrough import KANDINSKY_MAPPED, passthrough_fields
from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec

#: Field of the native API → field of the body.
NAMES = {
    "negative_prompt": "negative_decoder_prompt",
    "model": "executor",
    "mix": "images_texts",
    "scheduler": "sampler",
    "prior.steps": "prior_steps",
    "prior.guidance_scale": "prior_cf_scale",
    "prior.negative_prompt": "negative_prior_prompt",
}
#: Samplers of Kandinsky 2.1 → schedulers.
_SAMPLERS = {"p_sampler": "DDPM", "ddim_sampler": "DDIM", "plms_sampler": "PLMS"}
#: Types of the parts of ``images_texts``.
_PARTS = ("text", "image", "image", "text")


#: Longest lists that are read at all; four parts are accepted.
MAX_PARTS = 16


class _Body(TextSchema):
    class Meta:
        unknown = INCLUDE

    prompt = Text(allow_none=True)
    images_texts = Items(PictureText(allow_none=True), MAX_PARTS, allow_none=True)
    weights = Items(Number(), MAX_PARTS, allow_none=True)
    steps = Whole(allow_none=True)
    guidance_scale = Number(allow_none=True)
    width = Whole(allow_none=True)
    height = Whole(allow_none=True)
    sampler = Text(allow_none=True)
    prior_steps = Whole(allow_none=True)
    prior_cf_scale = Number(allow_none=True)
    negative_prior_prompt = Text(allow_none=True)
    negative_decoder_prompt = Text(allow_none=True)


_BODY = _Body()


def map_body(payload: Mapping[str, Any], kind: Kind, models: ModelRegistry, model: str) -> MappedBody:
    """Map a body.

    Settings of the prior are ignored if the model has none; its negative prompt then replaces an empty one of the
    decoder.

    Args:
        payload: the body.
        kind: text2img or mix2img.
        models: all models.
        model: the model; '' for the first that supports the kind.

    Raises:
        InvalidRequest: a field has the wrong type, or no model fits.
    """
    plain = {name: value for name, value in payload.items() if value != ""}
    body = {name: value for name, value in load(_BODY, plain)[0].items() if value is not None}
    try:
        spec = models.get(model) if model else models.default_for(kind)
    except ModelNotFound as exc:
        raise InvalidRequest(Problem("executor", exc.message, model)) from exc
    if spec is None or kind not in spec.kinds:
        raise InvalidRequest(Problem("gen_type", f"cannot be used: no kandinsky model here has {kind}", str(kind)))
    warnings: list[str] = []
    values: dict[str, Any] = {
        "model": spec.name,
        "kind": str(kind),
        "negative_prompt": body.get("negative_decoder_prompt"),
        "steps": body.get("steps"),
        "guidance_scale": body.get("guidance_scale"),
        "width": body.get("width"),
        "height": body.get("height"),
    }
    if spec.executor == "remote":  # the back end understands all fields
        values["passthrough"] = passthrough_fields(payload, KANDINSKY_MAPPED)
    else:
        values["scheduler"] = _scheduler(body, spec, warnings)
        prior_negative = body.get("negative_prior_prompt")
        if spec.has_prior:
            prior = {"steps": body.get("prior_steps"), "guidance_scale": body.get("prior_cf_scale")}
            values["prior"] = {**prior, "negative_prompt": prior_negative}
        else:
            values["negative_prompt"] = values["negative_prompt"] or prior_negative
    names: dict[str, str] = {}
    if kind is Kind.MIX2IMG:
        values["mix"], names = _mix(body)
    else:
        if payload.get("prompt") is None:
            raise InvalidRequest(Problem("prompt", "is required for text2img; it may be empty"))
        values["prompt"] = body.get("prompt", "")
    return MappedBody(values, warnings, names)


def _scheduler(body: Mapping[str, Any], spec: ModelSpec, warnings: list[str]) -> str | None:
    """Return the scheduler; None for the default of the model."""
    sampler = body.get("sampler")
    name = _SAMPLERS.get(sampler or "")
    if name and name in (*spec.schedulers, spec.scheduler):
        return name
    # Clients without a choice of samplers send p_sampler.
    if sampler and sampler != "p_sampler":
        warnings.append(f"model {spec.name} has no sampler {sampler}; its own was used")
    return None


def _mix(body: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the field ``mix``, and the names of its parts in the body."""
    parts, weights = body.get("images_texts", []), body.get("weights", [])
    if len(parts) != len(_PARTS):
        raise InvalidRequest(Problem("images_texts", "must be a text, two base64 images and a text"))
    if len(weights) != len(_PARTS):
        raise InvalidRequest(Problem("weights", f"must be {len(_PARTS)} numbers"))
    given = [index for index, part in enumerate(parts) if part]
    if not given:
        raise InvalidRequest(Problem("images_texts", "must contain at least one text or image"))
    names = {}
    for number, index in enumerate(given):
        names[f"mix[{number}].{_PARTS[index]}"] = names[f"mix[{number}]"] = f"images_texts[{index}]"
        names[f"mix[{number}].weight"] = f"weights[{index}]"
    return [{_PARTS[index]: parts[index], "weight": weights[index]} for index in given], names
