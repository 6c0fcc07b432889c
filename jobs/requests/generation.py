"""Resolve the fields of a caller into a complete request, with the model's defaults and within its limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobs import formats
from jobs.errors import InvalidRequest, Problem
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec, Range
from jobs.requests.declared import clip_skip_of, distilled_guidance_of, with_quality
from jobs.requests.hires_variation_prior import MAX_SEED, hires_of, prior_of, random_seed, variation_of
from jobs.requests.inpaint import inpaint_of, resize_of
from jobs.requests.inputs import FILES, LISTS, NEW_IN_VERSION_2, PARTS, Measured, images_of, inapplicable, named_inputs
from jobs.requests.limits import within
from jobs.requests.model_and_kind import model_and_kind
from jobs.requests.pictures.controls import controls_of, shape_of_controls
from jobs.requests.prompts.tagged_loras import with_tags
from jobs.requests.prompts.tags import quoted, taken_out
from jobs.requests.schedulers_loras_mix import loras_of, mix_of, scheduler_of
from jobs.requests.size import frames_of, size_of
from jobs.requests.sound import audio_output_of
from jobs.requests.strength import enough_for_one_step
from jobs.settings import Settings


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """Everything that determines the output. The record stores it as JSON, and outputs embed it."""

    model: str
    kind: Kind
    prompt: str
    negative_prompt: str
    #: Seed of the first image; the image with index i has seed + i, unless there is a ``variation``.
    seed: int
    steps: int
    guidance_scale: float
    width: int
    height: int
    #: Number of frames; 1 for an image.
    frames: int = 1
    #: Frames per second; 0 for an image.
    fps: float = 0.0
    num_images: int = 1
    #: Name of one of the model's qualities; None: the standard one.
    quality: str | None = None
    #: Canonical name (see :mod:`jobs.models.schedulers`); None: the one that the model's folder names.
    scheduler: str | None = None
    #: LoRAs, each ``{"name", "weight"}``, and ``text_encoder_weight`` where that differs.
    loras: list[dict[str, Any]] | None = None
    #: Object-store key of the input image.
    image: str | None = None
    #: Object-store keys of the reference images, in order.
    images: list[str] | None = None
    #: Object-store keys of the image that a video ends with, of the input video, and of the sound that drives a video.
    last_image: str | None = None
    video: str | None = None
    audio: str | None = None
    #: Object-store key of the mask; white areas are repainted.
    mask: str | None = None
    #: Parts of mix2img, each ``{"text" or "image" (object-store key), "weight"}``.
    mix: list[dict[str, Any]] | None = None
    #: Controls, each ``{"name", "image" (object-store key), "scale", "start", "end"}``, and ``resize`` where that
    #: differs from ``jobs.requests.pictures.controls.DEFAULT_RESIZE``.
    controls: list[dict[str, Any]] | None = None
    #: Number of the text encoder's last layers that are skipped; None: none.
    clip_skip: int | None = None
    #: Guidance that a distilled model takes as an input, beside ``guidance_scale``; None: the pipeline's default.
    distilled_guidance_scale: float | None = None
    #: How strongly the input image is changed, 0 to 1; for img2img and inpaint.
    strength: float | None = None
    #: ``{"seed", "strength"}``: noise of a second seed, and its share from 0 to 1. The image with index i has the
    #: request's ``seed`` and the second seed + i.
    variation: dict[str, Any] | None = None
    #: ``{"width", "height", "steps", "strength"}`` of a second pass of text2img: img2img on the enlarged first image.
    hires: dict[str, Any] | None = None
    #: ``steps``, ``guidance_scale`` and ``negative_prompt`` of the prior's call, as far as the request sets them.
    prior: dict[str, Any] | None = None
    #: How input image and mask are fitted to width × height: ``crop`` or ``pad``; None: stretched.
    resize: str | None = None
    #: How the mask is used: values that differ from the defaults of :class:`jobs.requests.inpaint.Inpaint`.
    inpaint: dict[str, Any] | None = None
    #: Format of the output (see :mod:`jobs.formats`); None in records that are older than this field.
    output_format: str | None = None
    #: The caller's prompt, if the server's enhancer rewrote it.
    original_prompt: str | None = None
    #: Quality from 1 to 100; None for a format without quality.
    output_quality: int | None = None
    #: Whether the output embeds this request; None: yes.
    embed_metadata: bool | None = None
    #: Whether a video has sound, of models that make sound; None: as the pipeline does it.
    audio_output: bool | None = None
    #: Fields that only back ends of the client's protocol understand; None: none.
    passthrough: dict[str, Any] | None = None
    #: Images that belong into ``passthrough``, each ``{"at", "image" (object-store key)}``; ``at`` are the names and
    #: indexes that lead to its place.
    passed_images: list[dict[str, Any]] | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Object-store keys of all input files, without duplicates."""
        return tuple(dict.fromkeys(self.named_inputs.values()))

    @property
    def named_inputs(self) -> dict[str, str]:
        """Object-store key of each input file by its name: ``image``, ``images-0``, ``mix-1``."""
        return named_inputs(self.to_dict())

    @property
    def version(self) -> int:
        """The first version of records with all of its fields; see ``jobs.record.RECORD_VERSION``."""
        new = {name.partition("-")[0] for name in self.named_inputs} | {self.kind}
        return 2 if NEW_IN_VERSION_2 & new else 1

    @property
    def output_size(self) -> tuple[int, int]:
        """Width and height of the output in pixels."""
        return (self.hires["width"], self.hires["height"]) if self.hires else (self.width, self.height)

    @property
    def second_steps(self) -> int:
        """Steps that the second pass runs for one image; 0 without a second pass."""
        return int(self.hires["steps"] * self.hires["strength"]) if self.hires else 0

    @property
    def total_steps(self) -> int:
        """Steps of both passes. A worker replaces this estimate by the actual number."""
        return self.steps + self.second_steps

    @property
    def work(self) -> float:
        """Work of the job: steps × megapixels × frames × images. Durations are estimated per unit of work."""
        width, height = self.output_size
        passes = self.steps * self.width * self.height + self.second_steps * width * height
        return passes * self.frames * self.num_images / 1e6

    def seeds(self, index: int) -> dict[str, int]:
        """Return the seeds of one image: ``seed``, and ``variation_seed`` if the request has a variation."""
        if self.variation:
            return {"seed": self.seed, "variation_seed": self.variation["seed"] + index}
        return {"seed": self.seed + index}

    def batch(self, seed: int, first: int) -> GenerationRequest:
        """Return this request for the images from index ``first`` on, of a series that begins with this seed."""
        if not self.variation:
            return replace(self, seed=seed + first)
        return replace(self, seed=seed, variation={**self.variation, "seed": self.variation["seed"] + first})

    def to_dict(self) -> dict[str, Any]:
        """Return the request as JSON values. Omits fields that are None."""
        values = {name: value for name in self.__dataclass_fields__ if (value := getattr(self, name)) is not None}
        if self.num_images == 1:
            del values["num_images"]  # keeps records small
        return values

    def shown(self) -> dict[str, Any]:
        """Return the request as callers see it: without object-store keys and passed-through fields."""
        hidden = (*FILES, *LISTS, "passthrough", "passed_images")
        values = {key: value for key, value in self.to_dict().items() if key not in hidden}
        for name in PARTS:
            if parts := values.get(name):
                values[name] = [{key: value for key, value in part.items() if key != "image"} for part in parts]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationRequest:
        """Return the request that a record stores. Fields that only a newer version knows are left out."""
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "kind": Kind(values["kind"])})


def resolve(
    registry: ModelRegistry, fields: Mapping[str, Any], settings: Settings | None = None,
    measured: Measured | None = None,
) -> tuple[GenerationRequest, list[str]]:  # fmt: skip
    """Fill in the model's defaults and check its limits.

    Args:
        registry: the models.
        fields: the fields that the caller sent, with checked types; None counts as absent. ``image``, ``mask`` and the
            images in ``mix`` are object-store keys.
        settings: set the format of outputs for which ``fields`` name none.
        measured: size and duration of the inputs. Their shape is that of the output, unless the fields say otherwise.
            None: not known yet.

    Returns:
        The request, and a warning for every value that was changed.

    Raises:
        InvalidRequest: lists every problem, not only the first one.
    """
    fields = {name: value for name, value in fields.items() if value is not None}
    spec, kind, fields, warnings = model_and_kind(registry, fields)
    checker = _Checker(spec, kind, fields, measured or Measured(), warnings)
    request = checker.request(settings or Settings())
    if checker.problems:
        raise InvalidRequest(*checker.problems)
    tags = [] if spec.executor == "remote" or spec.prompt_weighting else taken_out(request.prompt)[1]
    if tags:
        checker.warnings.append(f"prompt: {quoted(tags)} is read as text; LoRAs are requested by the field loras")
    size = formats.even_size(str(request.output_format), *request.output_size)
    if size != request.output_size:
        checker.warnings.append(
            f"{request.output_format} requires even sides: the output is cropped to {size[0]} × {size[1]}"
        )
    if spec.needs_prompt(kind) and not request.prompt.strip():
        checker.warnings.append("prompt is empty: the output shows whatever the model makes of no text")
    return request, checker.warnings


class _Checker:
    """Checks the fields of a request against a model, and collects all problems and warnings."""

    def __init__(
        self, spec: ModelSpec, kind: Kind, fields: Mapping[str, Any], measured: Measured, warnings: list[str]
    ) -> None:
        self._spec, self._kind, self._measured = spec, kind, measured
        self.problems, self.warnings = inapplicable(spec, kind, fields), warnings
        self._fields = with_quality(spec, with_tags(spec, fields, self.warnings), self.problems)

    def request(self, settings: Settings) -> GenerationRequest:
        """Return the complete request. It is only valid if there are no problems."""
        spec, kind, fields, problems = self._spec, self._kind, self._fields, self.problems
        control_size = shape_of_controls(spec, fields, self._measured.control_sizes)
        size = size_of(spec, kind, fields, self._measured.image_size, problems, self.warnings, control_size)
        fps = float(self._number("fps")) if kind.is_video else 0.0
        output = self._output(settings)
        first_pass = {"steps": self._number("steps"), "width": size.width, "height": size.height}
        return GenerationRequest(
            model=spec.name,
            kind=kind,
            prompt=str(fields.get("prompt", "")),
            negative_prompt=str(fields.get("negative_prompt", spec.default("negative_prompt"))),
            seed=self._seed(),
            guidance_scale=float(self._number("guidance_scale")),
            **first_pass,
            frames=frames_of(spec, kind, fields, fps, self._measured.video_s, problems, self.warnings)
            if kind.is_video else 1,
            fps=fps,
            num_images=1 if kind.is_video else self._num_images(),
            quality=fields.get("quality"),
            scheduler=scheduler_of(spec, fields, problems),
            loras=loras_of(spec, fields, problems),
            image=fields.get("image"),
            last_image=fields.get("last_image"),
            video=fields.get("video"),
            audio=fields.get("audio"),
            images=images_of(spec, fields, problems),
            mask=fields.get("mask"),
            mix=mix_of(spec, fields, problems) if kind is Kind.MIX2IMG else None,
            controls=controls_of(spec, kind, fields, problems),
            clip_skip=clip_skip_of(spec, kind, fields, problems),
            distilled_guidance_scale=distilled_guidance_of(spec, kind, fields, problems),
            strength=self._strength(first_pass["steps"]) if kind.has_strength else None,
            variation=variation_of(fields, problems),
            hires=hires_of(spec, kind, fields, first_pass, problems, self.warnings),
            prior=prior_of(spec, fields, problems),
            resize=size.resize or resize_of(kind, fields, problems),
            inpaint=inpaint_of(kind, fields, problems),
            **output,
            embed_metadata=None if fields.get("embed_metadata", settings.outputs.embed_metadata) else False,
            audio_output=audio_output_of(spec, kind, fields, output.get("output_format"), problems, self.warnings),
            passthrough=fields.get("passthrough") if spec.executor == "remote" else None,
            passed_images=fields.get("passed_images") if spec.executor == "remote" else None,
        )

    def _number(self, name: str) -> Any:
        value = self._fields.get(name, self._spec.default(name))
        return within(name, value, self._spec, self.problems, self.warnings)

    def _seed(self) -> int:
        """Return the seed; a negative one stands for a random one."""
        seed = int(self._fields.get("seed", -1))
        if seed < 0:
            return random_seed()
        if seed > MAX_SEED:
            rule = f"must be {Range(0, MAX_SEED)}, or negative for a random seed"
            self.problems.append(Problem("seed", rule, seed))
        return seed

    def _within(self, name: str, value: Any, allowed: Range) -> Any:
        """Return a value that no model changes, because the output would not be what was asked for."""
        if value not in allowed:
            self.problems.append(Problem(name, f"must be {allowed} for model {self._spec.name}", value))
        return value

    def _num_images(self) -> int:
        value = self._fields.get("num_images", self._spec.default("num_images"))
        return int(self._within("num_images", value, self._spec.limit("num_images")))

    def _strength(self, steps: int) -> float:
        # The mask alone limits what changes: inside of it the image is replaced, unless the model's defaults differ.
        default = self._spec.defaults.get("strength", 1.0) if self._kind is Kind.INPAINT else None
        if default is None:
            default = self._spec.default("strength")
        strength = float(self._within("strength", self._fields.get("strength", default), self._spec.limit("strength")))
        if self._spec.executor == "remote":  # a back end has its own rule
            return strength
        limit = self._spec.limit("strength")
        return enough_for_one_step("strength", strength, steps, limit, self.problems, self.warnings)

    def _output(self, settings: Settings) -> dict[str, Any]:
        options, is_video = settings.outputs, self._kind.is_video
        output, problems = formats.choose(
            self._fields,
            is_video=is_video,
            default=options.video_format if is_video else options.image_format,
            quality=options.video_quality if is_video else options.image_quality,
        )
        self.problems += problems
        return output
