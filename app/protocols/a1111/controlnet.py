"""The API of the ControlNet extension: what its clients ask before they send units with a request.

Source: Mikubill/sd-webui-controlnet, ``scripts/api.py`` (version 1.1.455).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NoReturn

from marshmallow import Schema, fields

from app.fields import Items, PictureText, Text
from app.openapi.answers import Answer, OpenAnswer, doc, texts
from app.payloads.a1111_controls import MAX_UNITS
from app.protocols.a1111 import options
from app.protocols.a1111.access import A1111Error
from jobs.models.controls import Control, ControlType
from jobs.requests.pictures.preprocessing import PREPROCESSORS, THRESHOLDS

#: Version of the API whose units are understood.
VERSION = 3
#: Most units, if no model has controls.
_UNITS = 3
_NONE = "None"
_CANNY, _IP_ADAPTER = "Canny", "IP-Adapter"


class A1111ControlVersionAnswer(Answer):
    """The version."""

    version = fields.Integer(**doc())


class A1111ControlModelsAnswer(Answer):
    """Models of units."""

    model_list = texts("Names of controls; `None` is not among them.")


class A1111ControlModulesAnswer(Answer):
    """Preprocessors."""

    module_list = texts()
    module_detail = fields.Nested(OpenAnswer, **doc("By name: `model_free` and `sliders`."))


class A1111ControlTypesAnswer(Answer):
    """Types of controls."""

    control_types = fields.Nested(OpenAnswer, **doc("By type: modules, models and the default of both."))


class A1111ControlSettingsAnswer(Answer):
    """Settings."""

    control_net_unit_count = fields.Integer(**doc("Most units of a request."))


class A1111DetectSchema(Schema):
    """Images to preprocess."""

    controlnet_module = Text(allow_none=True)
    controlnet_input_images = Items(PictureText(), MAX_UNITS, allow_none=True)


def version() -> dict[str, Any]:
    """Return the version of the API."""
    return {"version": VERSION}


def models() -> dict[str, Any]:
    """Return the names of the controls that the caller may use."""
    return {"model_list": [control.name for control in _controls()]}


def modules() -> dict[str, Any]:
    """Return the preprocessors, and the values of their settings."""
    details = {name: {"model_free": True, "sliders": _sliders(name)} for name in ("none", *PREPROCESSORS)}
    return {"module_list": list(details), "module_detail": details}


def types() -> dict[str, Any]:
    """Return the types of controls, with the modules and models of each."""
    controls = _controls()
    named = {control.name for control in controls if _CANNY.lower() in control.name.lower()}
    adapters = {control.name for control in controls if control.type is ControlType.IP_ADAPTER}
    return {
        "control_types": {
            "All": _type(["none", *PREPROCESSORS], [control.name for control in controls]),
            _CANNY: _type(["none", *PREPROCESSORS], sorted(named), "canny"),
            _IP_ADAPTER: _type(["none"], sorted(adapters)),
        }
    }


def settings() -> dict[str, Any]:
    """Return how many units a request may have."""
    limits = [int(spec.limit("controls").high) for spec in options.usable_models() if spec.controls]
    return {"control_net_unit_count": max(limits, default=_UNITS)}


def scripts() -> dict[str, Any]:
    """Return the scripts that requests may name."""
    names = ["controlnet"] if _controls() else []
    return {"txt2img": names, "img2img": names}


def detect() -> NoReturn:
    """Raises: A1111Error: images are preprocessed with the job that uses them."""
    raise A1111Error(422, "Module not available", "images are preprocessed with the request that has the unit")


def _controls() -> list[Control]:
    """Return the controls of the models that the caller may use, each name once.

    Those of back ends have their names there, because units are passed on unchanged.
    """
    by_name: dict[str, Control] = {}
    for spec in options.usable_models():
        for control in spec.controls.values():
            name = control.source if spec.executor == "remote" else control.name
            by_name.setdefault(name, replace(control, name=name))
    return list(by_name.values())


def _sliders(module: str) -> list[dict[str, Any]]:
    if module != "canny":
        return []
    return [
        {"name": name.replace("_", " ").title(), "value": value, "min": 1, "max": 255, "step": 1}
        for name, value in THRESHOLDS.items()
    ]


def _type(modules: list[str], names: list[str], default: str = "none") -> dict[str, Any]:
    return {
        "module_list": modules, "model_list": [_NONE, *names], "default_option": default,
        "default_model": names[0] if names and default != "none" else _NONE,
    }  # fmt: skip
