"""The options of a client, stored for its API key: the selected model and the format of its images."""

from __future__ import annotations

import json
from typing import Any

from marshmallow import Schema
from marshmallow.fields import Boolean, Field
from marshmallow.validate import Length, Range

from app.access import auth
from app.extensions import models, settings, store
from app.fields import Text, Whole
from app.payloads import a1111, a1111_overrides
from app.protocols.a1111.access import A1111Error
from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.store.client_state import ClientOptions

#: Kinds of jobs that this protocol can submit.
KINDS = (Kind.TEXT2IMG, Kind.IMG2IMG, Kind.INPAINT)
#: Value of ``samples_format`` → output format.
FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
#: Options that clients read, with their defaults. Only the first two and ``CLIP_stop_at_last_layers`` have an effect.
_DEFAULTS: dict[str, Any] = {
    "samples_format": "png", "sd_model_checkpoint": "", "sd_checkpoint_hash": "", "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 1, "samples_save": True, "grid_save": False, "live_previews_enable": True,
    "show_progress_every_n_steps": 10, "face_restoration_model": "", "img2img_color_correction": False,
    "eta_noise_seed_delta": 0, "sd_lora": "None",
}  # fmt: skip
#: Maximum length of a text, characters.
_MAX_CHARS = 1000
#: Upper bound of a number, exclusive.
_MAX = 2**31


def _field(name: str, *, is_answer: bool) -> Field[Any]:
    """Return the field of an option for the OpenAPI document; :func:`change_options` checks values itself."""
    default, needs = _DEFAULTS[name], dict[str, Any](required=is_answer, allow_none=not is_answer)
    if isinstance(default, bool):
        return Boolean(**needs)
    if isinstance(default, int):
        return Whole(**needs, validate=Range(-_MAX, _MAX, min_inclusive=False, max_inclusive=False))
    return Text(**needs, validate=Length(max=_MAX_CHARS))


A1111OptionsSchema, A1111OptionsAnswer = (
    Schema.from_dict({name: _field(name, is_answer=is_answer) for name in _DEFAULTS}, name=title)
    for title, is_answer in (("A1111Options", False), ("A1111OptionsAnswer", True))
)


def usable_models() -> list[ModelSpec]:
    """Return the models that the caller may use with this protocol."""
    allowed = auth.caller().models
    return [
        spec
        for spec in models()
        if any(kind in spec.kinds for kind in KINDS) and (not allowed or spec.name in allowed)
    ]


def current_options() -> dict[str, Any]:
    """Return all options of the caller."""
    stored = {name: value for name, value in _options().all().items() if name in _DEFAULTS}
    options = {**_DEFAULTS, **stored}
    if not any(a1111.title(spec) == options["sd_model_checkpoint"] for spec in models()):
        options["sd_model_checkpoint"] = _default_title()
    return options


def overridden() -> dict[str, Any]:
    """Return the stored options that change images in the original, as far as they differ from their defaults."""
    stored = _options().all()
    names = (a1111_overrides.CLIP_SKIP, *a1111_overrides.IGNORED)
    return {name: stored[name] for name in names if name in stored and stored[name] != _DEFAULTS[name]}


def selected_model() -> str:
    """Return the model that the caller selected, else the server's default for this protocol ('' if it has none)."""
    names_by_title = {a1111.title(spec): spec.name for spec in models()}
    return names_by_title.get(_options().get("sd_model_checkpoint") or "", settings().devoid.automatic1111_model)


def samples_format(override: Any) -> str:
    """Return the output format of images.

    Args:
        override: ``override_settings`` of the request.

    Raises:
        InvalidRequest: there is no such format.
    """
    name = str((override or {}).get("samples_format") or current_options()["samples_format"])
    if name.lower() not in FORMATS:
        raise InvalidRequest(Problem("samples_format", f"must be one of {', '.join(FORMATS)}", name))
    return FORMATS[name.lower()]


def change_options(changes: dict[str, Any]) -> None:
    """Store changed options; unknown options are ignored.

    Raises:
        InvalidRequest: a value is not valid.
        A1111Error: 500, as in the original: there is no such checkpoint.
    """
    values = {name: _whole(value) for name, value in changes.items() if name in _DEFAULTS and value is not None}
    problems = [
        Problem(name, f"must be like {json.dumps(_DEFAULTS[name])}", str(value)[:80])
        for name, value in values.items()
        if not _is_like(value, _DEFAULTS[name])
    ]
    if values.get(a1111_overrides.CLIP_SKIP, 1) not in range(1, a1111_overrides.MAX_CLIP_SKIP + 1):
        problems.append(Problem(a1111_overrides.CLIP_SKIP, f"must be between 1 and {a1111_overrides.MAX_CLIP_SKIP}"))
    if "samples_format" in values and str(values["samples_format"]).lower() not in FORMATS:
        problems.append(Problem("samples_format", f"must be one of {', '.join(FORMATS)}"))
    if problems:
        raise InvalidRequest(*problems)
    if "sd_model_checkpoint" in values:
        values["sd_model_checkpoint"] = a1111.title(model_with_title(values["sd_model_checkpoint"]))
    if values:
        _options().update(values)


def model_with_title(text: str) -> ModelSpec:
    """Return the model with this title or name, which may end in a hash. Raises: A1111Error."""
    try:
        spec = models().get(a1111.name_of(text))
    except ModelNotFound:
        spec = None
    if spec is None or spec not in usable_models():
        raise A1111Error(500, "", f"model {text[:200]!r} not found")
    return spec


def _default_title() -> str:
    default, specs = settings().devoid.automatic1111_model, usable_models()
    spec = next((spec for spec in specs if spec.name == default), None)
    return a1111.title(spec or specs[0]) if specs else ""


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, str):
        return isinstance(value, str) and len(value) <= _MAX_CHARS
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return isinstance(value, int) and abs(value) < _MAX


def _whole(value: Any) -> Any:
    """Return a float such as 2.0 as the whole number that it stands for."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _MAX else value


def _options() -> ClientOptions:
    return ClientOptions(store(), auth.caller().key_id)
