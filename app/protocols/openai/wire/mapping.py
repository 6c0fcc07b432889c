"""From OpenAI's fields to those of the native API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from marshmallow import Schema

from app.attachments import Pictures
from app.fields import load_all
from app.problems import Problems
from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import ModelSpec
from jobs.suggestions import misspelt

#: Fields with the same name in the native API.
_SAME = ("prompt", "negative_prompt", "enhance_prompt", "seed", "distilled_guidance_scale", "clip_skip",
         "width", "height", "resize", "scheduler", "slot", "priority", "start_within_s", "max_run_s", "retention",
         "moderate", "embed_metadata", "audio_output")  # fmt: skip
#: Native field → the names that it may have here, of which the first that was sent counts.
NAMES = {
    "steps": ("steps", "num_inference_steps"),
    "guidance_scale": ("guidance_scale", "true_cfg_scale", "cfg_scale"),
    "strength": ("strength", "i2i_denoise_strength"),
    "loras": ("loras", "lora"),
    "frames": ("frames", "num_frames"),
    "fps": ("fps",),
}
_SIZE = re.compile(r"\s*([0-9]{1,5})\s*[x×*]\s*([0-9]{1,5})\s*", re.IGNORECASE)


@dataclass
class Mapped:
    """A request with the native API's field names."""

    #: None if the model is not known, which is one of the problems.
    spec: ModelSpec | None
    values: dict[str, Any]
    pictures: Pictures
    #: What is wrong so far, with the names that the client sent.
    problems: Problems
    warnings: list[str]
    #: Native field → the field that the client sent.
    names: dict[str, str] = field(default_factory=dict)
    #: The checked fields of the request.
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def refused(self) -> set[str]:
        """The native names of what is wrong so far."""
        sent = {name: native for native, name in self.names.items()}
        names = {sent.get(name, name) for name in self.problems.fields}
        return names | ({"width", "height"} if "size" in self.problems.fields else set())

    def renamed(self, exc: InvalidRequest) -> InvalidRequest:
        """Return the error with the field names that the client sent."""
        return type(exc)(*(self._renamed(problem) for problem in exc.problems))

    def _renamed(self, problem: Problem) -> Problem:
        root, separator, part = re.match(r"([^.\[]*)([.\[]?)(.*)", problem.field, re.DOTALL).groups()  # type: ignore[union-attr]
        name = self.names.get(root, root)
        if name == "size" and root in ("width", "height"):  # one field has both sides
            return replace(problem, field=name, rule=f"must give a {root} {problem.rule.removeprefix('must be ')}")
        if name == "seconds":
            return replace(problem, field=name, rule=f"must give frames {problem.rule.removeprefix('must be ')}")
        if root == "mix":
            return replace(problem, field=self.names.get("image", "image"))
        return replace(problem, field=f"{name}{separator}{part}")


def checked(schema: Schema, texts: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], Problems]:
    """Return the fields that have a value, warnings about unknown ones, and what is wrong."""
    values, unknown, wrong = load_all(schema, texts)
    problems = Problems(wrong)
    meant = {name: misspelt(name, schema.fields) for name in unknown}
    problems.add(Problem(name, f"is unknown; did you mean {known}?") for name, known in meant.items() if known)
    warnings = [f"unknown field {name!r} was ignored" for name, known in meant.items() if not known]
    return {name: value for name, value in values.items() if value is not None}, warnings, problems


def native_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that only have other names here."""
    native = {name: values[name] for name in _SAME if name in values}
    for name, sent in sent_names(values).items():
        native[name] = values[sent]
    return native


def sent_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the names that were sent of fields with several names."""
    found = {native: next((name for name in names if name in values), "") for native, names in NAMES.items()}
    return {native: name for native, name in found.items() if name}


def add_size(mapped: Mapped, values: Mapping[str, Any], problems: Problems) -> None:
    """Add width and height, which ``size`` names unless they were sent themselves."""
    text = str(values.get("size", "")).strip()
    if text in ("", "auto") or {"width", "height"} <= values.keys():
        return
    match = _SIZE.fullmatch(text)
    if match is None:
        problems.add([Problem("size", "must be width and height, such as 1024x1024, or auto", values["size"])])
        return
    for side, digits in zip(("width", "height"), match.groups(), strict=True):
        if side not in values:
            mapped.values[side] = int(digits)
            mapped.names[side] = "size"
