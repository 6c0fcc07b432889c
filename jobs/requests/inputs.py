"""The inputs of a request: which ones its kind needs, and how many of them its model takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.errors import Problem
from jobs.models.spec import Kind, ModelSpec

#: Input fields, as messages name them.
INPUTS = {
    "image": "an input image", "images": "reference images", "mask": "a mask", "last_image": "a last image",
    "video": "a video", "audio": "sound", "mix": "a mix of texts and images",
}  # fmt: skip
#: Fields with one file, and fields with a list of files.
FILES, LISTS = ("image", "mask", "last_image", "video", "audio"), ("images",)
#: Fields with a list of objects, whose ``image`` is a file.
PARTS = ("mix", "controls", "passed_images")
#: Inputs and kinds that records of the first version do not have.
NEW_IN_VERSION_2 = frozenset(
    {"images", "last_image", "video", "audio", "controls", "passed_images", Kind.EDIT, Kind.VIDEO2VIDEO}
)
#: Most reference images of a request, whatever the model takes.
MAX_IMAGES = 16


@dataclass(frozen=True)
class Measured:
    """What the inputs of a request decide about its output."""

    #: Width and height of the image or video whose shape the output has, pixels; None: there is none.
    image_size: tuple[int, int] | None = None
    #: Duration of the input video, seconds; None: there is none.
    video_s: float | None = None
    #: Width and height of the image of each control, pixels; None for one that is missing.
    control_sizes: tuple[tuple[int, int] | None, ...] = ()


def named_inputs(request: Mapping[str, Any]) -> dict[str, str]:
    """Return the object-store key of each input file of a request, by its name in addresses.

    Args:
        request: the fields of a complete request, without those that are None.
    """
    keys = {name: request[name] for name in FILES if name in request}
    for name in LISTS:
        keys |= {f"{name}-{index}": key for index, key in enumerate(request.get(name, ()))}
    for name in PARTS:
        parts = enumerate(request.get(name, ()))
        keys |= {f"{name}-{index}": part["image"] for index, part in parts if part.get("image")}
    return keys


def images_of(spec: ModelSpec, fields: Mapping[str, Any], problems: list[Problem]) -> list[str] | None:
    """Return the reference images; None without any. Adds a problem if the model takes fewer, or more."""
    images = fields.get("images")
    limit = spec.limit("images")
    if images and len(images) not in limit:
        count = f"{limit} image{'' if limit.high == 1 else 's'}"
        problems.append(Problem("images", f"must be {count} for model {spec.name}", len(images)))
    return images or None


def _not_taken(spec: ModelSpec, kind: Kind, name: str) -> str:
    """Return the rule that an input breaks which the model does not take."""
    if name in kind.optional_inputs:
        return f"is not an input of model {spec.name} for {kind}"
    return f"is not an input of {kind}; model {spec.name} has {', '.join(spec.kinds)}"


def inapplicable(spec: ModelSpec, kind: Kind, fields: Mapping[str, Any]) -> list[Problem]:
    """Return problems of inputs that are missing, and of fields that this kind does not have."""
    problems = []
    if "prompt" not in fields and spec.needs_prompt(kind):
        problems.append(Problem("prompt", f"is required: {kind} needs a text that says what to show"))
    for name, description in INPUTS.items():
        if name in kind.inputs and not fields.get(name):
            problems.append(Problem(name, f"is required: {kind} needs {description}"))
        elif name in spec.needs and spec.takes(name, kind) and not fields.get(name):
            problems.append(Problem(name, f"is required: model {spec.name} needs {description}"))
        if not spec.takes(name, kind) and fields.get(name) not in (None, []):
            problems.append(Problem(name, _not_taken(spec, kind, name)))
    # The complete request of a job may be submitted again: neutral values of fields that do not apply are accepted.
    neutral: dict[str, Any] = {"num_images": 1} if kind.is_video else {"frames": 1, "fps": 0}
    if not kind.has_strength:
        neutral["strength"] = None
    problems += [
        Problem(name, f"does not apply to {kind}", fields[name])
        for name, value in neutral.items()
        if name in fields and fields[name] != value
    ]
    if kind is Kind.MIX2IMG and fields.get("prompt"):
        problems.append(Problem("prompt", "does not apply to mix2img: put texts into mix", fields["prompt"]))
    return problems
