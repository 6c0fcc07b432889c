"""From the fields a caller sent to the complete request a worker computes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jobs import formats
from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models import Kind, ModelRegistry, ModelSpec, Range
from jobs.settings import Settings

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """Everything that determines the output. Stored in the record as JSON and embedded in the outputs."""

    model: str
    kind: Kind
    prompt: str
    negative_prompt: str
    seed: int
    steps: int
    guidance_scale: float
    width: int
    height: int
    #: 1 for an image.
    frames: int = 1
    #: Frames per second; 0 for an image.
    fps: float = 0.0
    #: Object-store key of the input image.
    image: str | None = None
    #: How far an input image is changed, 0 to 1; only img2img uses it.
    strength: float | None = None
    #: How the output is written (``jobs.formats``). Records of before this field have the formats of then.
    output_format: str | None = None
    #: 1 to 100; None for a format without one.
    output_quality: int | None = None
    #: Whether the output holds this request; None: yes.
    embed_metadata: bool | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Object-store keys of all input images, each once."""
        return tuple(dict.fromkeys(key for key in (self.image,) if key))

    @property
    def work(self) -> float:
        """Size of the job: steps × megapixels × frames. Times are estimated per unit of it."""
        return self.steps * self.width * self.height * self.frames / 1e6

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationRequest:
        return cls(**{**values, "kind": Kind(values["kind"])})


def resolve(
    registry: ModelRegistry, fields: Mapping[str, Any], settings: Settings | None = None
) -> tuple[GenerationRequest, list[str]]:
    """Fill in the model's defaults and check its limits.

    Args:
        registry: the models.
        fields: what the caller sent, types already checked; None counts as not sent. ``image`` is an
            object-store key.
        settings: the formats of outputs where ``fields`` say nothing.

    Returns:
        The request, and a warning for every value that had to be rounded.

    Raises:
        InvalidRequest: with every problem found, not only the first.
    """
    sent = {key: value for key, value in fields.items() if value is not None}
    settings = settings or Settings()
    spec, kind = _model_and_kind(registry, sent)
    problems: list[Problem] = []
    warnings: list[str] = []

    def number(name: str, allowed: Range | None = None) -> Any:
        value = sent[name] if name in sent else spec.default(name)
        allowed = allowed or spec.limit(name)
        if value not in allowed:
            problems.append(Problem(name, f"must be {allowed} for model {spec.name}", value))
        return value

    def rounded(name: str, step: int, offset: int = 0) -> int:
        value = int(number(name))
        nearest = round((value - offset) / step) * step + offset
        limit = spec.limit(name)
        if nearest > limit.high:
            nearest = int((limit.high - offset) // step) * step + offset
        elif nearest < limit.low:
            nearest = int(-((offset - limit.low) // step)) * step + offset
        if nearest != value and not any(p.field == name for p in problems):
            warnings.append(f"{name} {value} was rounded to {nearest}")
        return nearest

    prompt = str(sent.get("prompt", ""))
    for name, text in (("prompt", prompt), ("negative_prompt", str(sent.get("negative_prompt", "")))):
        if len(text) not in spec.limit("prompt_chars"):
            problems.append(Problem(name, f"length must be {spec.limit('prompt_chars')} characters", text))
    if kind.needs_image and "image" not in sent:
        problems.append(Problem("image", f"{kind} needs an input image"))
    if not kind.needs_image and "image" in sent:
        problems.append(Problem("image", f"{kind} takes no input image; this model offers: {', '.join(spec.kinds)}"))
    if not kind.is_video:
        problems += [Problem(name, f"{kind} has no {name}", sent[name]) for name in ("frames", "fps") if name in sent]
    if "strength" in sent and kind is not Kind.IMG2IMG:
        problems.append(Problem("strength", f"{kind} has no strength", sent["strength"]))
    default, quality = (
        (settings.video_format, settings.video_quality) if kind.is_video
        else (settings.image_format, settings.image_quality)
    )  # fmt: skip
    output, wrong = formats.choose(sent, is_video=kind.is_video, default=default, quality=quality)
    problems += wrong

    request = GenerationRequest(
        model=spec.name,
        kind=kind,
        prompt=prompt,
        negative_prompt=str(sent.get("negative_prompt", spec.default("negative_prompt"))),
        seed=number("seed", Range(0, MAX_SEED)) if "seed" in sent else secrets.randbelow(2**32),
        steps=number("steps"),
        guidance_scale=float(number("guidance_scale")),
        width=rounded("width", spec.size_multiple_px),
        height=rounded("height", spec.size_multiple_px),
        frames=rounded("frames", spec.frames_step, 1) if kind.is_video else 1,
        fps=float(number("fps")) if kind.is_video else 0.0,
        image=sent.get("image"),
        strength=float(number("strength")) if kind is Kind.IMG2IMG else None,
        **output,
        embed_metadata=None if sent.get("embed_metadata", settings.embed_metadata) else False,
    )
    if request.strength is not None and request.strength * request.steps < 1:
        problems.append(
            Problem("strength", "strength × steps must be at least 1: that many steps are run", request.strength)
        )
    if problems:
        raise InvalidRequest(*problems)
    size = formats.even_size(str(request.output_format), request.width, request.height)
    if size != (request.width, request.height):
        warnings.append(f"{request.output_format} needs even sides: the output is cropped to {size[0]} × {size[1]}")
    return request, warnings


def _model_and_kind(registry: ModelRegistry, sent: Mapping[str, Any]) -> tuple[ModelSpec, Kind]:
    """Each may be left out: the kind follows from the model and the image, the model from the kind."""
    try:
        kind = Kind(sent["kind"]) if "kind" in sent else None
    except ValueError:
        raise InvalidRequest(Problem("kind", f"must be one of {', '.join(Kind)}", sent["kind"])) from None
    if "model" in sent:
        try:
            spec: ModelSpec | None = registry.get(sent["model"])
        except ModelNotFound as exc:
            raise InvalidRequest(Problem("model", exc.message, sent["model"])) from exc
    else:
        spec = registry.default_for(kind or (Kind.IMG2IMG if "image" in sent else Kind.TEXT2IMG))
    if spec is None:
        raise InvalidRequest(
            Problem("model", f"no model offers {kind or 'this'}; known: {', '.join(registry.names())}")
        )
    if kind is None:
        fitting = [k for k in spec.kinds if k.needs_image == ("image" in sent)]
        kind = fitting[0] if fitting else spec.kinds[0]
    if kind not in spec.kinds:
        raise InvalidRequest(Problem("kind", f"model {spec.name} offers {', '.join(spec.kinds)}", str(kind)))
    return spec, kind
