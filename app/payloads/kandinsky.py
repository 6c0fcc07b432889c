"""The body of Devoid's Kandinsky API, ``text2img`` and ``mix2images``, as fields of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, Schema, fields

from app.fields import Number, Text, Whole, load
from app.payloads import Wanted, passing
from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec

#: Our field → theirs.
NAMES = {
    "negative_prompt": "negative_decoder_prompt",
    "model": "executor",
    "mix": "images_texts",
    "scheduler": "sampler",
    "prior.steps": "prior_steps",
    "prior.guidance_scale": "prior_cf_scale",
    "prior.negative_prompt": "negative_prior_prompt",
}
#: Their samplers, which are those of Kandinsky 2.1, as ours.
_SAMPLERS = {"p_sampler": "DDPM", "ddim_sampler": "DDIM", "plms_sampler": "PLMS"}
#: What the parts of ``images_texts`` are.
_PARTS = ("text", "image", "image", "text")


class _Body(Schema):
    class Meta:
        unknown = INCLUDE

    prompt = Text(allow_none=True)
    images_texts = fields.List(Text(allow_none=True), allow_none=True)
    weights = fields.List(Number(), allow_none=True)
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


def wanted(payload: Mapping[str, Any], kind: Kind, models: ModelRegistry, model: str) -> Wanted:
    """What a body asks for: text2img or mix2img. ``model``: '' for the first that offers the kind.

    Settings of a prior that the model does not have mean nothing; its prompt is then the decoder's, if that has none.

    Raises:
        InvalidRequest: a field has the wrong type, or no model fits.
    """
    plain = {name: value for name, value in payload.items() if value != ""}
    sent = {name: value for name, value in load(_BODY, plain)[0].items() if value is not None}
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
        "negative_prompt": sent.get("negative_decoder_prompt"),
        "steps": sent.get("steps"),
        "guidance_scale": sent.get("guidance_scale"),
        "width": sent.get("width"),
        "height": sent.get("height"),
    }
    if spec.executor == "remote":  # it knows all fields, and gets them as they are
        values["passthrough"] = passing.passed_on(payload, passing.KANDINSKY_OWN)
    else:
        values["scheduler"] = _scheduler(sent, spec, warnings)
        own_negative = sent.get("negative_prior_prompt")
        if spec.has_prior:
            prior = {"steps": sent.get("prior_steps"), "guidance_scale": sent.get("prior_cf_scale")}
            values["prior"] = {**prior, "negative_prompt": own_negative}
        else:
            values["negative_prompt"] = values["negative_prompt"] or own_negative
    if kind is Kind.MIX2IMG:
        values["mix"] = _mix(sent)
    else:
        if not sent.get("prompt"):
            raise InvalidRequest(Problem("prompt", "is required for text2img"))
        values["prompt"] = sent["prompt"]
    return Wanted(values, warnings)


def _scheduler(sent: Mapping[str, Any], spec: ModelSpec, warnings: list[str]) -> str | None:
    """The sampler as we call it; None: the model's own."""
    wanted = sent.get("sampler")
    name = _SAMPLERS.get(wanted or "")
    if name and name in (*spec.schedulers, spec.scheduler):
        return name
    # The first is what every client sends that does not care.
    if wanted and wanted != "p_sampler":
        warnings.append(f"model {spec.name} has no sampler {wanted}; its own was used")
    return None


def _mix(sent: Mapping[str, Any]) -> list[dict[str, Any]]:
    parts, weights = sent.get("images_texts", []), sent.get("weights", [])
    if len(parts) != len(_PARTS):
        raise InvalidRequest(Problem("images_texts", "must be a text, two base64 images and a text"))
    if len(weights) != len(_PARTS):
        raise InvalidRequest(Problem("weights", f"must be {len(_PARTS)} numbers"))
    pairs = zip(_PARTS, parts, weights, strict=True)
    found = [{name: part, "weight": weight} for name, part, weight in pairs if part]
    if not found:
        raise InvalidRequest(Problem("images_texts", "must contain at least one text or image"))
    return found
