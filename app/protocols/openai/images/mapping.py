"""From OpenAI's fields of images to those of the native API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.attachments import UNSTORED, Pictures
from app.extensions import models
from app.problems import Problems
from app.protocols.openai.wire import schemas
from app.protocols.openai.wire.input_images import IMAGE_FIELDS, MASK_FIELDS, InputImage, taken
from app.protocols.openai.wire.lora_lists import gathered
from app.protocols.openai.wire.mapping import Mapped, add_size, checked, native_values, sent_names
from jobs.errors import Problem
from jobs.models.spec import Kind, ModelSpec
from jobs.suggestions import listed


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
    values, warnings, problems = checked(schemas.IMAGE, texts)
    images, masks = (taken(body, names, problems) for names in (IMAGE_FIELDS, MASK_FIELDS))
    if needs_prompt and not str(values.get("prompt", "")).strip():
        problems.add([Problem("prompt", "is required: a text that says what to show")])
    if (needs_image or masks) and not images:
        problems.add([Problem("image", "is required")])
    kind = Kind.INPAINT if masks else (Kind.TEXT2IMG, Kind.IMG2IMG)[bool(images)]
    spec, kind = _model(values, kind, images, problems)
    mapped = Mapped(spec, native_values(values), Pictures(mask_repaints="transparent"), problems, warnings)
    mapped.fields = values
    mapped.names |= {"num_images": "n", "output_quality": "output_compression"} | sent_names(values)
    mapped.values |= {"kind": kind, "model": spec.name if spec else None} | _output(values) | _quality(values, spec)
    add_size(mapped, values, problems)
    _add_images(mapped, kind, images, masks)
    return mapped


def _model(
    values: Mapping[str, Any], kind: Kind, images: list[InputImage], problems: Problems
) -> tuple[ModelSpec | None, Kind]:  # fmt: skip
    """Return the model, and the kind of job that it does with these images. Raises: ModelNotFound."""
    name, registry = values.get("model"), models()
    # A model that edits as the prompt says is what clients of this API expect; others vary or mix the images.
    others = (Kind.MIX2IMG, Kind.EDIT) if len(images) > 1 else (Kind.IMG2IMG,)
    choices = (Kind.EDIT, *others) if kind is Kind.IMG2IMG else (kind,)
    spec = registry.called(name, choices[-1]) if name else registry.first_for(*choices, kind)
    wanted = next((one for one in choices if spec and one in spec.kinds), choices[-1])
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


def _quality(values: Mapping[str, Any], spec: ModelSpec | None) -> dict[str, str]:
    """Return the model's quality that is meant; without one, OpenAI's word has no effect."""
    name = schemas.MODEL_QUALITIES.get(schemas.QUALITIES[values.get("quality", "auto")], "")
    return {"quality": name} if spec and name in spec.quality else {}


def _output(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return format and quality of the files. The quality of a PNG, which 100 stands for, is none."""
    format_ = {"jpg": "jpeg"}.get(values.get("output_format", "png"), values.get("output_format", "png"))
    quality = values.get("output_compression")
    if quality is not None and (format_ != "png" or quality != 100):
        return {"output_format": format_, "output_quality": max(1, quality)}
    return {"output_format": format_}


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
    elif kind is Kind.EDIT:
        mapped.names["images"] = images[0].field
        for image in images:
            mapped.pictures.add(mapped.values, "images", image.content)
    elif images:
        contents["image"], mapped.values["image"] = images[0].content, UNSTORED
        if {"width", "height"} <= mapped.values.keys():
            mapped.values.setdefault("resize", "crop")  # a size is no wish to distort the image
