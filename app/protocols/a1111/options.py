"""Settings of a client, kept for its API key: which model it uses, and in which format it gets its images."""

from __future__ import annotations

import json
from typing import Any

from app import auth
from app.extensions import models, settings, store
from app.payloads import a1111
from app.protocols.a1111.access import Failed
from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.store.client_state import ClientOptions

#: What this protocol can make.
KINDS = (Kind.TEXT2IMG, Kind.IMG2IMG, Kind.INPAINT)
#: Value of ``samples_format`` → ours.
FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
#: Settings that clients read, with their values. Only the first two do something here.
_DEFAULTS: dict[str, Any] = {
    "samples_format": "png", "sd_model_checkpoint": "", "sd_checkpoint_hash": "", "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 1, "samples_save": True, "grid_save": False, "live_previews_enable": True,
    "show_progress_every_n_steps": 10, "face_restoration_model": "", "img2img_color_correction": False,
    "eta_noise_seed_delta": 0, "sd_lora": "None",
}  # fmt: skip
#: Longest text of a setting, characters.
_MAX_CHARS = 1000


def usable() -> list[ModelSpec]:
    """The models that this caller may use by this protocol."""
    allowed = auth.caller().models
    return [
        spec
        for spec in models()
        if any(kind in spec.kinds for kind in KINDS) and (not allowed or spec.name in allowed)
    ]


def chosen() -> dict[str, Any]:
    """All settings of this caller."""
    kept = {name: value for name, value in _options().all().items() if name in _DEFAULTS}
    options = {**_DEFAULTS, **kept}
    if not any(a1111.title(spec) == options["sd_model_checkpoint"] for spec in models()):
        options["sd_model_checkpoint"] = _first()
    return options


def model() -> str:
    """The model that the caller set; else the server's for this protocol, '' for the first that offers a kind."""
    known = {a1111.title(spec): spec.name for spec in models()}
    return known.get(_options().get("sd_model_checkpoint") or "", settings().devoid.automatic1111_model)


def samples_format(override: Any) -> str:
    """The format of images, in our words; ``override``: the request's ``override_settings``."""
    wanted = (override or {}).get("samples_format") or chosen()["samples_format"]
    if str(wanted).lower() not in FORMATS:
        raise InvalidRequest(Problem("samples_format", f"must be one of {', '.join(FORMATS)}", wanted))
    return FORMATS[str(wanted).lower()]


def change(sent: dict[str, Any]) -> None:
    """Keep what was sent; settings that mean nothing here are left alone.

    Raises:
        InvalidRequest: a value cannot be.
        Failed: 500, as the original: there is no such checkpoint.
    """
    values = {name: value for name, value in sent.items() if name in _DEFAULTS and value is not None}
    problems = [
        Problem(name, f"must be like {json.dumps(_DEFAULTS[name])}", str(value)[:80])
        for name, value in values.items()
        if not _is_like(value, _DEFAULTS[name])
    ]
    if "samples_format" in values and str(values["samples_format"]).lower() not in FORMATS:
        problems.append(Problem("samples_format", f"must be one of {', '.join(FORMATS)}"))
    if problems:
        raise InvalidRequest(*problems)
    if "sd_model_checkpoint" in values:
        values["sd_model_checkpoint"] = a1111.title(find(values["sd_model_checkpoint"]))
    if values:
        _options().update(values)


def find(text: str) -> ModelSpec:
    """The model of a title or name, also with a hash behind it. Raises: Failed."""
    try:
        spec = models().get(a1111.name_of(text))
    except ModelNotFound:
        spec = None
    if spec is None or spec not in usable():
        raise Failed(500, "", f"model {text[:200]!r} not found")
    return spec


def _first() -> str:
    own = settings().devoid.automatic1111_model
    specs = usable()
    spec = next((spec for spec in specs if spec.name == own), None)
    return a1111.title(spec or specs[0]) if specs else ""


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, str):
        return isinstance(value, str) and len(value) <= _MAX_CHARS
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int) and abs(value) < 2**31


def _options() -> ClientOptions:
    return ClientOptions(store(), auth.caller().key_id)
