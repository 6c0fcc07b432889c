"""Map the body of AUTOMATIC1111's ``txt2img`` and ``img2img`` to fields of the native API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import INCLUDE, fields

from app.fields import Flag, Items, Number, PictureText, Text, Whole, load
from app.payloads import (
    MappedBody,
    a1111_controls,
    a1111_masks,
    a1111_overrides,
    a1111_passes,
    a1111_samplers,
    a1111_units,
)
from app.payloads.passthrough import A1111_MAPPED, passthrough_fields
from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec
from jobs.requests.prompts.tagged_loras import loras_of_tags
from jobs.requests.prompts.tags import taken_out
from jobs.suggestions import misspelt

#: Field of the native API → field of the body.
NAMES = {
    "guidance_scale": "cfg_scale",
    "scheduler": "sampler_name",
    "strength": "denoising_strength",
    "num_images": "batch_size",
    "image": "init_images",
    "images": "init_images",
    "model": "override_settings",
    "loras": "prompt",
    **a1111_passes.NAMES,
    **a1111_controls.NAMES,
    **a1111_masks.NAMES,
    **a1111_overrides.NAMES,
}

#: Most images of a body; all but the first are ignored.
MAX_IMAGES = 64
ONE_IMAGE = "all but the first of init_images were ignored"
#: End of a checkpoint title in AUTOMATIC1111: a file extension, a hash, or both.
_TITLE_END = re.compile(r"(\.safetensors|\.ckpt)?( \[[0-9a-f]+\])?$")
#: Fields that are not supported here → their values without effect.
_IGNORED: dict[str, tuple[Any, ...]] = {
    "restore_faces": (False,), "tiling": (False,), "styles": ([],),
    "refiner_checkpoint": ("", "None"), "script_name": ("", "None"), "eta": (0, 1),
    "s_churn": (0,), "s_tmin": (0,), "s_tmax": (0,), "s_noise": (0, 1), "s_min_uncond": (0,),
    "initial_noise_multiplier": (0, 1), "seed_resize_from_w": (-1, 0), "seed_resize_from_h": (-1, 0),
    "firstpass_image": (), "latent_mask": (), "infotext": ("",),
}  # fmt: skip


class _Body(a1111_masks.MaskFields, a1111_passes.PassFields):
    """The supported fields; others are listed in ``_IGNORED`` or unknown."""

    class Meta:
        unknown = INCLUDE

    prompt = Text(allow_none=True)
    negative_prompt = Text(allow_none=True)
    seed = Whole(allow_none=True)
    steps = Whole(allow_none=True)
    cfg_scale = Number(allow_none=True)
    distilled_cfg_scale = Number(allow_none=True)
    width = Whole(allow_none=True)
    height = Whole(allow_none=True)
    batch_size = Whole(allow_none=True)
    n_iter = Whole(allow_none=True)
    sampler_name = Text(allow_none=True)
    sampler_index = Text(allow_none=True)
    scheduler = Text(allow_none=True)
    denoising_strength = Number(allow_none=True)
    init_images = Items(PictureText(), MAX_IMAGES, allow_none=True)
    mask = PictureText(allow_none=True)
    disable_extra_networks = Flag(allow_none=True)
    override_settings = fields.Dict(keys=fields.String(), allow_none=True)


_BODY = _Body()


def map_body(payload: Mapping[str, Any], kind: Kind, models: ModelRegistry, model: str) -> MappedBody:
    """Map a body.

    Args:
        payload: the body. Unknown fields are ignored, as AUTOMATIC1111 does.
        kind: text2img or img2img; img2img with a mask becomes inpaint.
        models: all models.
        model: the model of a body that names none; '' for the first that supports the kind.

    Raises:
        InvalidRequest: a field has the wrong type, an image is missing, or no model fits.
    """
    known, unknown = load(_BODY, payload)
    body = {name: value for name, value in known.items() if value is not None}
    inputs: dict[str, Any] = {}
    images = body.get("init_images", ())
    if kind is Kind.IMG2IMG:
        if not images:
            raise InvalidRequest(Problem("init_images", "is required: img2img needs an image"))
        inputs["may_be_animated"] = True
        if body.get("mask"):
            kind = Kind.INPAINT
            # The alpha channel decides before the back end sees the mask, too: it is stored without one.
            inputs |= {"mask": body["mask"], "mask_repaints": "opaque"}
    spec = _model(body, kind, models, model)
    kind = spec.kind_for(kind) or kind
    if kind is Kind.EDIT:
        inputs["images"] = images
    elif images:
        inputs["image"] = images[0]
    seed = body.get("seed", -1)
    values = {
        "model": spec.name,
        "kind": str(kind),
        "prompt": body.get("prompt"),
        "negative_prompt": body.get("negative_prompt"),
        "seed": None if seed < 0 else seed,
        "steps": body.get("steps"),
        "guidance_scale": body.get("cfg_scale"),
        "width": body.get("width"),
        "height": body.get("height"),
        "num_images": body.get("batch_size", 1) * body.get("n_iter", 1),
        "strength": body.get("denoising_strength", 0.75) if kind.has_strength else None,
        # Says that an omitted size is the model's, not the image's, as in the original.
        "resize": "stretch" if images else None,
        **inputs,
    }
    warnings = [ONE_IMAGE] if len(images) > 1 and kind is not Kind.EDIT else []
    if spec.executor == "remote":
        # The back end is such a server itself and understands all fields.
        taken = a1111_units.take_images(payload)
        values["passthrough"] = passthrough_fields(taken.body, A1111_MAPPED)
        if taken.images:
            values |= {"passed_images": taken.images, "may_be_animated": True}
        return MappedBody(values, warnings, taken.names)
    warnings += [f"{name} was ignored" for name in _IGNORED if _matters(name, payload.get(name))]
    meant = {name: misspelt(name, _BODY.fields) for name in unknown if name not in _IGNORED}
    warnings += [f"{name} was ignored; did you mean {field}?" for name, field in meant.items() if field]
    prompt, loras = body.get("prompt", ""), None
    if body.get("disable_extra_networks"):
        prompt, _ = taken_out(prompt)
    else:
        prompt, loras = loras_of_tags(prompt, spec, warnings)
    values["prompt"] = prompt if "prompt" in body else None
    if loras:
        values["loras"] = loras
    values["scheduler"] = a1111_samplers.scheduler_of_sampler(body, spec, warnings)
    values |= a1111_controls.control_values(payload, images, kind, spec, warnings)
    values |= a1111_masks.mask_values(body, kind, warnings)
    values |= a1111_overrides.override_values(body, kind, spec, warnings)
    values |= a1111_passes.pass_values(body, kind, spec, warnings)
    return MappedBody(values, warnings)


def title(spec: ModelSpec) -> str:
    """Return the title of a model in lists; requests may select the model by it."""
    return spec.name


def name_of(title: str) -> str:
    """Return the model name in a title, which may end in a file extension and a hash."""
    return _TITLE_END.sub("", title.strip())


def _matters(name: str, value: Any) -> bool:
    return value is not None and value not in _IGNORED[name]


def _model(body: Mapping[str, Any], kind: Kind, models: ModelRegistry, default: str) -> ModelSpec:
    named = str(body.get("override_settings", {}).get("sd_model_checkpoint") or "")
    plain = name_of(named)
    if default in models.names() and plain not in models.names() and models.get(default).executor == "remote":
        plain = ""  # the name of a checkpoint of the back end
    try:
        spec = models.get(plain or default) if plain or default else models.default_for(kind)
    except ModelNotFound as exc:
        raise InvalidRequest(Problem("override_settings", exc.message, named)) from exc
    if spec is None or spec.kind_for(kind) is None:
        raise InvalidRequest(Problem("override_settings", f"cannot be used: no model here has {kind}", named))
    return spec
