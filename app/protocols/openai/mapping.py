"""From OpenAI's fields to those of the native API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from app.attachments import UNSTORED, Pictures
from app.extensions import models
from app.fields import load_all
from app.problems import Problems
from app.protocols.openai import schemas
from app.protocols.openai.input_images import IMAGE_FIELDS, MASK_FIELDS, InputImage, taken
from app.protocols.openai.lora_lists import gathered
from jobs.errors import InvalidRequest, Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.suggestions import listed, misspelt

#: Fields with the same name in the native API.
_SAME = ("prompt", "negative_prompt", "seed", "distilled_guidance_scale", "clip_skip", "strength", "width", "height",
         "resize", "scheduler", "slot", "priority", "start_within_s", "max_run_s", "retention", "moderate",
         "embed_metadata")  # fmt: skip
#: Native field → the names that it may have here, of which the first that was sent counts.
NAMES = {
    "steps": ("steps", "num_inference_steps"),
    "guidance_scale": ("guidance_scale", "true_cfg_scale", "cfg_scale"),
    "loras": ("loras", "lora"),
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
        if root == "mix":
            return replace(problem, field=self.names.get("image", "image"))
        return replace(problem, field=f"{name}{separator}{part}")


def map_images(body: Mapping[str, Any], *, needs_image: bool, needs_prompt: bool) -> Mapped:
    """Check and translate a request for images.

    Args:
        body: fields of a JSON body, or of a form with lists under :data:`IMAGE_FIELDS`.
        needs_image: whether it must have an image.
        needs_prompt: whether it must have a prompt.

    Returns:
        The request, with the problems of its fields.

    Raises:
        ModelNotFound.
    """
    texts = {name: value for name, value in gathered(body).items() if name not in (*IMAGE_FIELDS, *MASK_FIELDS)}
    values, warnings, problems = _checked(texts)
    images, masks = (taken(body, names, problems) for names in (IMAGE_FIELDS, MASK_FIELDS))
    if needs_prompt and not str(values.get("prompt", "")).strip():
        problems.add([Problem("prompt", "is required: a text that says what to show")])
    if (needs_image or masks) and not images:
        problems.add([Problem("image", "is required")])
    kind = Kind.INPAINT if masks else (Kind.TEXT2IMG, Kind.IMG2IMG)[bool(images)]
    spec, kind = _model(values, kind, images, problems)
    mapped = Mapped(spec, native_values(values), Pictures(mask_repaints="transparent"), problems, warnings)
    mapped.fields = values
    mapped.names |= {"num_images": "n", "output_quality": "output_compression"} | _sent_names(values)
    mapped.values |= {"kind": kind, "model": spec.name if spec else None} | _output(values)
    _add_size(mapped, values, problems)
    _add_images(mapped, kind, images, masks)
    return mapped


def _checked(texts: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], Problems]:
    """Return the fields that have a value, warnings about unknown ones, and what is wrong."""
    values, unknown, wrong = load_all(schemas.IMAGE, texts)
    problems = Problems(wrong)
    meant = {name: misspelt(name, schemas.IMAGE.fields) for name in unknown}
    problems.add(Problem(name, f"is unknown; did you mean {known}?") for name, known in meant.items() if known)
    warnings = [f"unknown field {name!r} was ignored" for name, known in meant.items() if not known]
    return {name: value for name, value in values.items() if value is not None}, warnings, problems


def native_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that only have other names here."""
    native = {name: values[name] for name in _SAME if name in values}
    for name, sent in _sent_names(values).items():
        native[name] = values[sent]
    return native


def _sent_names(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the names that were sent of fields with several names."""
    found = {native: next((name for name in names if name in values), "") for native, names in NAMES.items()}
    return {native: name for native, name in found.items() if name}


def _model(
    values: Mapping[str, Any], kind: Kind, images: list[InputImage], problems: Problems
) -> tuple[ModelSpec | None, Kind]:  # fmt: skip
    """Return the model, and the kind of job that it does with these images. Raises: ModelNotFound."""
    wanted = Kind.MIX2IMG if len(images) > 1 and kind is Kind.IMG2IMG else kind
    name, registry = values.get("model"), models()
    spec = registry.called(name, wanted) if name else registry.default_for(wanted) or registry.default_for(kind)
    if spec is None:
        known = listed(registry.names())
        problems.add([Problem("model", f"is required: no model here has {kind}; known: {known or 'none'}")])
        return None, kind
    if len(images) > 1 and (wanted not in spec.kinds or kind is Kind.INPAINT):
        rule = f"must be one image, not {len(images)}: model {spec.name} takes one"
        problems.add([Problem(images[1].field, rule)])
        return spec, kind
    if wanted not in spec.kinds:
        rule = f"does not offer {wanted}: {spec.name} has {', '.join(spec.kinds)}"
        problems.add([Problem("model", rule, name)])
    return spec, wanted


def _output(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return format and quality of the files. The quality of a PNG, which 100 stands for, is none."""
    format_ = {"jpg": "jpeg"}.get(values.get("output_format", "png"), values.get("output_format", "png"))
    quality = values.get("output_compression")
    if quality is not None and (format_ != "png" or quality != 100):
        return {"output_format": format_, "output_quality": max(1, quality)}
    return {"output_format": format_}


def _add_size(mapped: Mapped, values: Mapping[str, Any], problems: Problems) -> None:
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


def _add_images(mapped: Mapped, kind: Kind, images: list[InputImage], masks: list[InputImage]) -> None:
    contents = mapped.pictures.contents
    if images:
        mapped.names["image"] = images[0].field
    if masks:
        contents["mask"], mapped.values["mask"] = masks[0].content, UNSTORED
        mapped.names["mask"] = masks[0].field
    if kind is Kind.MIX2IMG:
        texts = [{"text": mapped.values.pop("prompt")}] if mapped.values.get("prompt") else []
        mapped.values["mix"] = [*texts, *({"image": UNSTORED} for _ in images)]
        contents |= {f"mix[{len(texts) + index}].image": image.content for index, image in enumerate(images)}
    elif images:
        contents["image"], mapped.values["image"] = images[0].content, UNSTORED
        if {"width", "height"} <= mapped.values.keys():
            mapped.values.setdefault("resize", "crop")  # a size is no wish to distort the image
