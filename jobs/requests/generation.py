"""From the fields a caller sent to the complete request a worker computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from jobs import formats
from jobs.errors import InvalidRequest, ModelNotFound, Problem
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec, Range
from jobs.requests.hires_variation_prior import MAX_SEED, hires_of, prior_of, random_seed, variation_of
from jobs.requests.inpaint import inpaint_of, resize_of
from jobs.requests.schedulers_loras_mix import loras_of, mix_of, scheduler_of
from jobs.settings import Settings

_ARTICLES = {"image": "an input image", "mask": "a mask", "mix": "a mix of texts and images"}


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """Everything that determines the output. Stored in the record as JSON and embedded in the outputs."""

    model: str
    kind: Kind
    prompt: str
    negative_prompt: str
    #: Of the first image; the image with index i has seed + i, unless there is a ``variation``.
    seed: int
    steps: int
    guidance_scale: float
    width: int
    height: int
    #: 1 for an image.
    frames: int = 1
    #: Frames per second; 0 for an image.
    fps: float = 0.0
    num_images: int = 1
    #: Canonical name (``jobs.models.schedulers``); None: the one in the model's folder.
    scheduler: str | None = None
    #: ``{"name", "weight"}`` of each.
    loras: list[dict[str, Any]] | None = None
    #: Object-store key of the input image.
    image: str | None = None
    #: Object-store key of the mask; white is painted anew.
    mask: str | None = None
    #: Of mix2img: ``{"text" or "image" (object-store key), "weight"}`` of each.
    mix: list[dict[str, Any]] | None = None
    #: How far an input image is changed, 0 to 1; only img2img and inpaint use it.
    strength: float | None = None
    #: ``{"seed", "strength"}``: noise of another seed that is mixed in, 0 to 1. The image with index i has the same
    #: ``seed``, and this seed + i.
    variation: dict[str, Any] | None = None
    #: ``{"width", "height", "steps", "strength"}`` of a second pass of text2img: img2img on the enlarged first picture.
    hires: dict[str, Any] | None = None
    #: ``{"steps", "guidance_scale", "negative_prompt"}`` of the prior's call, where the request and not the model says.
    prior: dict[str, Any] | None = None
    #: How the input image and the mask get to width × height: ``crop`` or ``pad``; None: they are stretched.
    resize: str | None = None
    #: How the mask is used: what differs from the defaults of :class:`jobs.requests.inpaint.Inpaint`.
    inpaint: dict[str, Any] | None = None
    #: How the output is written (``jobs.formats``). Records of before this field have the formats of then.
    output_format: str | None = None
    #: 1 to 100; None for a format without one.
    output_quality: int | None = None
    #: Whether the output holds this request; None: yes.
    embed_metadata: bool | None = None
    #: Fields of the sender's own body that only a back end of the sender's protocol understands; None: it had none.
    passthrough: dict[str, Any] | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Object-store keys of all input images, each once."""
        mixed = [part.get("image") for part in self.mix or ()]
        return tuple(dict.fromkeys(key for key in (self.image, self.mask, *mixed) if key))

    @property
    def output_size(self) -> tuple[int, int]:
        """Width and height of the output in pixels."""
        return (self.hires["width"], self.hires["height"]) if self.hires else (self.width, self.height)

    @property
    def second_steps(self) -> int:
        """Steps that the second pass runs for an image; 0: there is none."""
        return int(self.hires["steps"] * self.hires["strength"]) if self.hires else 0

    @property
    def total_steps(self) -> int:
        """Steps of both passes; a worker knows better once it runs."""
        return self.steps + self.second_steps

    @property
    def work(self) -> float:
        """Size of the job: steps × megapixels × frames × images. Times are estimated per unit of it."""
        width, height = self.output_size
        passes = self.steps * self.width * self.height + self.second_steps * width * height
        return passes * self.frames * self.num_images / 1e6

    def seeds(self, index: int) -> dict[str, int]:
        """What makes the image with this index alone: ``seed``, and ``variation_seed`` where noise is mixed."""
        if self.variation:
            return {"seed": self.seed, "variation_seed": self.variation["seed"] + index}
        return {"seed": self.seed + index}

    def batch(self, seed: int, first: int) -> GenerationRequest:
        """The same for the images from ``first`` on, of a series that begins with this seed."""
        if not self.variation:
            return replace(self, seed=seed + first)
        return replace(self, seed=seed, variation={**self.variation, "seed": self.variation["seed"] + first})

    def to_dict(self) -> dict[str, Any]:
        values = {key: value for key, value in asdict(self).items() if value is not None}
        if self.num_images == 1:
            del values["num_images"]  # records stay small
        return values

    def shown(self) -> dict[str, Any]:
        """What a caller may see again: all but the inputs' keys and what is passed on."""
        hidden = ("image", "mask", "passthrough")
        values = {key: value for key, value in self.to_dict().items() if key not in hidden}
        if self.mix:
            values["mix"] = [{key: value for key, value in part.items() if key != "image"} for part in self.mix]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationRequest:
        return cls(**{**values, "kind": Kind(values["kind"])})


def resolve(
    registry: ModelRegistry, fields: Mapping[str, Any], settings: Settings | None = None
) -> tuple[GenerationRequest, list[str]]:
    """Fill in the model's defaults and check its limits.

    Args:
        registry: the models.
        fields: what the caller sent, types already checked; None counts as not sent. ``image``, ``mask`` and images in
            ``mix`` are object-store keys.
        settings: the formats of outputs where ``fields`` say nothing.

    Returns:
        The request, and a warning for every value that had to be rounded.

    Raises:
        InvalidRequest: with every problem found, not only the first.
    """
    sent = {key: value for key, value in fields.items() if value is not None}
    settings = settings or Settings()
    spec, kind = _model_and_kind(registry, sent)
    problems = _unfitting(spec, kind, sent)
    warnings: list[str] = []

    def number(name: str, default: Any = None, allowed: Range | None = None) -> Any:
        value = sent[name] if name in sent else spec.default(name) if default is None else default
        allowed = allowed or spec.limit(name)
        if value not in allowed:
            problems.append(Problem(name, f"must be {allowed} for model {spec.name}", value))
        return value

    def rounded(name: str, step: int, offset: int = 0) -> int:
        value = int(number(name))
        nearest = spec.limit(name).nearest(value, step, offset)
        if nearest != value and not any(p.field == name for p in problems):
            warnings.append(f"{name} {value} was rounded to {nearest}")
        return nearest

    # A mask says already what may change; within it the picture is made anew unless the model's default says else.
    painted_anew = spec.defaults.get("strength", 1.0) if kind is Kind.INPAINT else None
    default, quality = (
        (settings.outputs.video_format, settings.outputs.video_quality) if kind.is_video
        else (settings.outputs.image_format, settings.outputs.image_quality)
    )  # fmt: skip
    output, wrong = formats.choose(sent, is_video=kind.is_video, default=default, quality=quality)
    problems += wrong
    first = {
        "steps": number("steps"),
        "width": rounded("width", spec.size_multiple_px),
        "height": rounded("height", spec.size_multiple_px),
    }
    request = GenerationRequest(
        model=spec.name,
        kind=kind,
        prompt=str(sent.get("prompt", "")),
        negative_prompt=str(sent.get("negative_prompt", spec.default("negative_prompt"))),
        seed=number("seed", allowed=Range(0, MAX_SEED)) if "seed" in sent else random_seed(),
        guidance_scale=float(number("guidance_scale")),
        **first,
        frames=rounded("frames", spec.frames_step, 1) if kind.is_video else 1,
        fps=float(number("fps")) if kind.is_video else 0.0,
        num_images=1 if kind.is_video else int(number("num_images")),
        scheduler=scheduler_of(spec, sent, problems),
        loras=loras_of(spec, sent, problems),
        image=sent.get("image"),
        mask=sent.get("mask"),
        mix=mix_of(spec, sent, problems) if kind is Kind.MIX2IMG else None,
        strength=float(number("strength", painted_anew)) if kind.has_strength else None,
        variation=variation_of(sent, problems),
        hires=hires_of(spec, kind, sent, first, problems, warnings),
        prior=prior_of(spec, sent, problems),
        resize=resize_of(kind, sent, problems),
        inpaint=inpaint_of(kind, sent, problems),
        **output,
        embed_metadata=None if sent.get("embed_metadata", settings.outputs.embed_metadata) else False,
        passthrough=sent.get("passthrough") if spec.executor == "remote" else None,
    )
    own = spec.executor != "remote"  # a server of others may take it
    if own and request.strength is not None and request.strength * request.steps < 1:
        rule = "strength × steps must be at least 1: that many steps are run"
        problems.append(Problem("strength", rule, request.strength))
    if problems:
        raise InvalidRequest(*problems)
    size = formats.even_size(str(request.output_format), *request.output_size)
    if size != request.output_size:
        warnings.append(f"{request.output_format} needs even sides: the output is cropped to {size[0]} × {size[1]}")
    return request, warnings


def _unfitting(spec: ModelSpec, kind: Kind, sent: Mapping[str, Any]) -> list[Problem]:
    """Fields that this kind lacks or does not have, and texts that are too long."""
    problems = [
        Problem(name, f"length must be {spec.limit('prompt_chars')} characters", sent[name])
        for name in ("prompt", "negative_prompt")
        if name in sent and len(str(sent[name])) not in spec.limit("prompt_chars")
    ]
    for name, article in _ARTICLES.items():
        if name in kind.inputs and not sent.get(name):
            problems.append(Problem(name, f"{kind} needs {article}"))
        if name not in kind.inputs and name in sent:
            rule = f"{kind} takes no {article.partition(' ')[2]}; this model offers: {', '.join(spec.kinds)}"
            problems.append(Problem(name, rule))
    # A complete request can be sent again: what it says of a field that means nothing here is allowed.
    absent: dict[str, Any] = {"num_images": 1} if kind.is_video else {"frames": 1, "fps": 0}
    if not kind.has_strength:
        absent["strength"] = None
    problems += [
        Problem(name, f"{kind} has no {name}", sent[name])
        for name, nothing in absent.items()
        if name in sent and sent[name] != nothing
    ]
    if kind is Kind.MIX2IMG and sent.get("prompt"):
        problems.append(Problem("prompt", "mix2img has no prompt: its texts stand in mix", sent["prompt"]))
    return problems


def _model_and_kind(registry: ModelRegistry, sent: Mapping[str, Any]) -> tuple[ModelSpec, Kind]:
    """Each may be left out: the kind follows from the model and the inputs, the model from the kind."""
    try:
        kind = Kind(sent["kind"]) if "kind" in sent else None
    except ValueError:
        raise InvalidRequest(Problem("kind", f"must be one of {', '.join(Kind)}", sent["kind"])) from None
    inputs = sent.keys() & _ARTICLES.keys()
    if "model" in sent:
        try:
            spec: ModelSpec | None = registry.get(sent["model"])
        except ModelNotFound as exc:
            raise InvalidRequest(Problem("model", exc.message, sent["model"])) from exc
    else:
        spec = registry.default_for(kind or _closest(tuple(Kind), inputs))
    if spec is None:
        raise InvalidRequest(
            Problem("model", f"no model offers {kind or 'this'}; known: {', '.join(registry.names())}")
        )
    kind = kind or _closest(spec.kinds, inputs)
    if kind not in spec.kinds:
        raise InvalidRequest(Problem("kind", f"model {spec.name} offers {', '.join(spec.kinds)}", str(kind)))
    return spec, kind


def _closest(kinds: tuple[Kind, ...], inputs: set[str]) -> Kind:
    """The first kind with these inputs, or with the fewest that are missing or too many."""
    return min(kinds, key=lambda kind: len(kind.inputs ^ inputs))
