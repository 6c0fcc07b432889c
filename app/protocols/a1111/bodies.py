"""The bodies of ``txt2img`` and ``img2img``: their fields with types and defaults, and parsing them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from flask import request
from marshmallow import INCLUDE, Schema, fields

from app.bodies.body_stream import Digest
from app.fields import Flag, Items, Number, PictureText, Text, TextSchema, Whole, body_of, load
from app.payloads.a1111_overrides import CLIP_SKIP, MAX_CLIP_SKIP
from jobs.errors import InvalidRequest, Problem
from jobs.requests import infotext

#: Maximum number of batches of one request.
MAX_BATCHES = 100
#: Most items of a list, such as the arguments of a script.
MAX_ITEMS = 1000
#: Upper bound of all numbers of a request, exclusive.
_MAX = 2**63

#: Field → its type and default. None: the default is that of the model, or the field has no effect.
COMMON: dict[str, tuple[Any, Any]] = {
    "prompt": (Text, ""), "negative_prompt": (Text, ""), "styles": (list, None), "seed": (Whole, -1),
    "subseed": (Whole, -1), "subseed_strength": (Number, 0), "seed_resize_from_h": (Whole, -1),
    "seed_resize_from_w": (Whole, -1), "sampler_name": (Text, None), "scheduler": (Text, None),
    "batch_size": (Whole, 1), "n_iter": (Whole, 1), "steps": (Whole, 50), "cfg_scale": (Number, 7.0),
    "distilled_cfg_scale": (Number, None),
    "width": (Whole, 512), "height": (Whole, 512), "restore_faces": (bool, None), "tiling": (bool, None),
    "do_not_save_samples": (bool, False), "do_not_save_grid": (bool, False), "eta": (Number, None),
    "denoising_strength": (Number, None), "s_min_uncond": (Number, None), "s_churn": (Number, None),
    "s_tmax": (Number, None), "s_tmin": (Number, None), "s_noise": (Number, None), "override_settings": (dict, None),
    "override_settings_restore_afterwards": (bool, True), "refiner_checkpoint": (Text, None),
    "refiner_switch_at": (Number, None), "disable_extra_networks": (bool, False),
    "firstpass_image": (PictureText, None),
    "comments": (dict, None), "sampler_index": (Text, "Euler"), "script_name": (Text, None), "script_args": (list, []),
    "send_images": (bool, True), "save_images": (bool, False), "alwayson_scripts": (dict, {}),
    "force_task_id": (Text, None), "infotext": (Text, None),
}  # fmt: skip
TXT2IMG: dict[str, tuple[Any, Any]] = {
    **COMMON, "enable_hr": (bool, False), "firstphase_width": (Whole, 0), "firstphase_height": (Whole, 0),
    "hr_scale": (Number, 2.0), "hr_upscaler": (Text, None), "hr_second_pass_steps": (Whole, 0),
    "hr_resize_x": (Whole, 0), "hr_resize_y": (Whole, 0), "hr_checkpoint_name": (Text, None),
    "hr_sampler_name": (Text, None), "hr_scheduler": (Text, None), "hr_prompt": (Text, ""),
    "hr_negative_prompt": (Text, ""),
}  # fmt: skip
IMG2IMG: dict[str, tuple[Any, Any]] = {
    **COMMON, "denoising_strength": (Number, 0.75), "init_images": (list, None), "resize_mode": (Whole, 0),
    "image_cfg_scale": (Number, None), "mask": (PictureText, None), "mask_blur": (Whole, None),
    "mask_blur_x": (Whole, 4), "mask_blur_y": (Whole, 4), "mask_round": (bool, True), "inpainting_fill": (Whole, 0),
    "inpaint_full_res": (bool, True), "inpaint_full_res_padding": (Whole, 0), "inpainting_mask_invert": (Whole, 0),
    "initial_noise_multiplier": (Number, None), "latent_mask": (PictureText, None),
    "include_init_images": (bool, False),
}  # fmt: skip

_TYPES: dict[Any, Any] = {
    list: partial(Items, fields.Raw(), MAX_ITEMS), dict: partial(fields.Dict, keys=fields.String()),
    bool: Flag,
}  # fmt: skip


def schema(name: str, table: Mapping[str, tuple[Any, Any]]) -> Schema:
    """Return the schema of a table of fields, for validation and for the OpenAPI document."""
    # Generators of clients refuse a default that is an object.
    fields_by_name = {
        name: _TYPES.get(kind, kind)(allow_none=True, metadata={} if kind is dict else {"default": default})
        for name, (kind, default) in table.items()
    }
    return TextSchema.from_dict(fields_by_name, name=name)(unknown=INCLUDE)


TXT2IMG_SCHEMA, IMG2IMG_SCHEMA = schema("A1111Txt2Img", TXT2IMG), schema("A1111Img2Img", IMG2IMG)
_SCHEMAS = {id(TXT2IMG): TXT2IMG_SCHEMA, id(IMG2IMG): IMG2IMG_SCHEMA}
#: Field → its name in an infotext.
_OF_INFOTEXT = {
    "prompt": "Prompt", "negative_prompt": "Negative prompt", "steps": "Steps", "sampler_name": "Sampler",
    "scheduler": "Schedule type", "cfg_scale": "CFG scale", "distilled_cfg_scale": "Distilled CFG Scale",
    "seed": "Seed", "width": "Size-1", "height": "Size-2",
    "denoising_strength": "Denoising strength", "subseed": "Variation seed",
    "subseed_strength": "Variation seed strength", "hr_scale": "Hires upscale", "hr_resize_x": "Hires resize-1",
    "hr_resize_y": "Hires resize-2", "hr_second_pass_steps": "Hires steps", "hr_upscaler": "Hires upscaler",
    "mask_blur": "Mask blur", "inpaint_full_res": "Inpaint area", "inpaint_full_res_padding": "Masked area padding",
    "inpainting_fill": "Masked content",
}  # fmt: skip
#: Values of "Clip skip" in an infotext.
_CLIP_SKIPS = tuple(map(str, range(1, MAX_CLIP_SKIP + 1)))
#: Field → its values in an infotext.
_WORDS: dict[str, dict[str, Any]] = {
    "inpaint_full_res": {"Only masked": True, "Whole picture": False},
    "inpainting_fill": {"fill": 0, "original": 1, "latent noise": 2, "latent nothing": 3},
}


def parse_body(table: Mapping[str, tuple[Any, Any]], digest: Digest) -> dict[str, Any]:
    """Return the fields of the current request's body that are not null.

    An infotext in the body sets the fields that the body itself omits. Fields that are not in the table are returned
    unchanged: a back end may know them.

    Args:
        table: the known fields.
        digest: is updated with the bytes of the body.

    Raises:
        InvalidRequest: names every field and its rule.
    """
    body = {name: value for name, value in body_of(request, digest).items() if value is not None}
    text = body.get("infotext")
    parameters = _infotext_fields(text) if isinstance(text, str) else {}
    written = {name: value for name, value in parameters.items() if name in table}
    given = dict(body)
    if isinstance(given.get("override_settings"), dict):
        given["override_settings"] = {**written.get("override_settings", {}), **given["override_settings"]}
    values, _ = load(_SCHEMAS[id(table)], {**written, **given})
    _check_limits(values)
    return {**{name: value for name, value in body.items() if name not in table}, **values}


def _infotext_fields(text: str) -> dict[str, Any]:
    """Return the fields that an infotext sets."""
    parameters = infotext.parse(text)
    fields_of_text: dict[str, Any] = {
        field: parameters[name] for field, name in _OF_INFOTEXT.items() if name in parameters
    }
    for field, values in _WORDS.items():
        if field in fields_of_text:
            fields_of_text[field] = values.get(fields_of_text[field], fields_of_text[field])
    if parameters.keys() & {"Hires upscale", "Hires resize-1"}:
        fields_of_text["enable_hr"] = True
    if parameters.get("Clip skip", "") in _CLIP_SKIPS:
        fields_of_text["override_settings"] = {CLIP_SKIP: int(parameters["Clip skip"])}
    return fields_of_text


def _check_limits(values: Mapping[str, Any]) -> None:
    """Raise InvalidRequest if a value is out of the limits that no model can change."""
    rules = {}
    if not 1 <= values.get("n_iter", 1) <= MAX_BATCHES:
        rules["n_iter"] = f"must be between 1 and {MAX_BATCHES}"
    if values.get("batch_size", 1) < 1:
        rules["batch_size"] = "must be at least 1"
    if not _is_id(values.get("force_task_id", "")):
        rules["force_task_id"] = "must be at most 128 printable characters"
    rules |= {
        name: "is too large" for name, value in values.items() if isinstance(value, int) and abs(value) >= _MAX
    }  # fmt: skip
    if rules:
        raise InvalidRequest(*(Problem(name, rule, values[name]) for name, rule in rules.items()))


def _is_id(text: str) -> bool:
    return len(text) <= 128 and text.isprintable()

