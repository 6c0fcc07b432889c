"""Models as values: kinds of jobs, allowed ranges, and :class:`ModelSpec`, one checked table of the models file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jobs.models import loras
from jobs.models.controls import Control
from jobs.models.load_options import LoadOptions
from jobs.models.quality import STANDARD, fields_of
from jobs.models.toml_fields import Range

__all__ = ["Kind", "ModelSpec", "Range"]


class Kind(StrEnum):
    """The kind of a job: what it makes, and from which inputs."""

    TEXT2IMG = "text2img"
    IMG2IMG = "img2img"
    INPAINT = "inpaint"
    MIX2IMG = "mix2img"
    EDIT = "edit"
    TEXT2VIDEO = "text2video"
    IMG2VIDEO = "img2video"
    VIDEO2VIDEO = "video2video"

    @property
    def is_video(self) -> bool:
        return self in (Kind.TEXT2VIDEO, Kind.IMG2VIDEO, Kind.VIDEO2VIDEO)

    @property
    def inputs(self) -> frozenset[str]:
        """Fields besides the prompt that a request of this kind needs; kinds without them refuse them."""
        return _INPUTS.get(self, frozenset())

    @property
    def optional_inputs(self) -> frozenset[str]:
        """Fields that models of this kind take if the models file names an argument for them."""
        return _OPTIONAL_INPUTS.get(self, frozenset())

    @property
    def has_strength(self) -> bool:
        return self in (Kind.IMG2IMG, Kind.INPAINT, Kind.VIDEO2VIDEO)


_INPUTS = {
    Kind.IMG2IMG: frozenset({"image"}),
    Kind.INPAINT: frozenset({"image", "mask"}),
    Kind.MIX2IMG: frozenset({"mix"}),
    Kind.EDIT: frozenset({"images"}),
    Kind.IMG2VIDEO: frozenset({"image"}),
    Kind.VIDEO2VIDEO: frozenset({"video"}),
}
#: Kinds that controls have unless their table says otherwise.
CONTROLLED = (Kind.TEXT2IMG, Kind.IMG2IMG, Kind.INPAINT)
#: Fields with files, in the order in which they are listed.
ALL_INPUTS = ("image", "images", "mask", "last_image", "video", "audio", "mix")
_OPTIONAL_INPUTS = {
    Kind.TEXT2VIDEO: frozenset({"images", "audio"}),
    Kind.IMG2VIDEO: frozenset({"last_image", "images", "audio"}),
    Kind.VIDEO2VIDEO: frozenset({"image", "images", "audio"}),
}
#: All fields that some models of some kinds take.
OPTIONAL_INPUTS = frozenset().union(*_OPTIONAL_INPUTS.values())


#: Limits that apply where the models file sets none.
DEFAULT_LIMITS: dict[str, Range] = {
    "steps": Range(1, 200),
    "width": Range(16, 4096),
    "height": Range(16, 4096),
    "frames": Range(1, 1025),
    "fps": Range(1, 120),
    "guidance_scale": Range(0, 50),
    "strength": Range(0, 1),
    "num_images": Range(1, 4),
    "images": Range(1, 1),
    "controls": Range(1, 3),
    "lora_weight": Range(-2, 2),
    "clip_skip": Range(0, 11),
    "distilled_guidance_scale": Range(0, 50),
}

#: Values of fields that apply where neither the request nor the models file sets one.
DEFAULTS: dict[str, Any] = {
    "steps": 30, "width": 512, "height": 512, "guidance_scale": 5.0, "frames": 17, "fps": 16.0, "strength": 0.6,
    "num_images": 1, "negative_prompt": "", "audio_output": None,
}  # fmt: skip


#: ``pipeline``: a DiffusionPipeline. ``modular``: the blocks of a ModularPipeline.
LOADERS = ("pipeline", "modular")

_ALIAS = re.compile(r"[A-Za-z0-9*][A-Za-z0-9._:/*-]{0,63}")


def is_alias(text: str) -> bool:
    """Return whether a text may be another name of a model."""
    return _ALIAS.fullmatch(text) is not None


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model: one table of the models file."""

    name: str
    #: Absolute path or hub id of a diffusers pipeline.
    source: str
    #: How diffusers loads it, one of :data:`LOADERS`.
    loader: str = "pipeline"
    #: Class of the pipeline, of diffusers or one's own (``FILE.py:Class``); None: the one that the folder names.
    pipeline: str | None = None
    #: Class of the blocks of a modular pipeline; None: the one that the folder names.
    blocks: str | None = None
    #: The part of the blocks that is used; None: all, which choose what they do by their inputs.
    workflow: str | None = None
    #: Commit or tag on the hub.
    revision: str | None = None
    kinds: tuple[Kind, ...]
    #: Pipeline class by kind; for other kinds the class of the pipeline that was loaded.
    pipelines: Mapping[str, str] = field(default_factory=dict)
    #: Path or hub id of a pipeline that runs first and turns texts (and images) into embeddings for this one.
    prior: str | None = None
    #: Commit or tag of the prior on the hub.
    prior_revision: str | None = None
    #: Arguments of the prior's call. None: the model has no prior, unless ``prior`` names one.
    prior_arguments: Mapping[str, Any] | None = None
    #: ``auto``: float32 on a CPU, float16 for images and bfloat16 for video on a GPU.
    dtype: str = "auto"
    #: Weight variant, for example ``fp16``.
    variant: str | None = None
    description: str = ""
    #: Other names of it for clients of OpenAI's API, which cannot choose a name; ``*`` stands for any characters.
    aliases: tuple[str, ...] = ()
    #: Values of fields that requests omit. Only models that make sound have ``audio_output``, whether videos have it.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Range] = field(default_factory=dict)
    #: Values of the requests of each quality (:mod:`jobs.models.quality`).
    quality: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Whether steps, sizes and the like outside of the limits are changed to the nearest allowed value, with a warning,
    #: instead of being refused.
    clamp: bool = False
    #: Width and height are rounded to a multiple of this many pixels.
    size_multiple_px: int = 8
    #: Samples per second of the sound that the pipeline takes.
    audio_rate_hz: int = 16_000
    #: The number of frames is rounded to ``frames_step * n + 1``.
    frames_step: int = 1
    #: Scheduler of requests that name none; None: the one that the folder names.
    scheduler: str | None = None
    #: Schedulers that a request may name (canonical names, see ``jobs.models.schedulers``).
    schedulers: tuple[str, ...] = ()
    #: Folder of LoRA files that a request may name.
    loras: str | None = None
    #: LoRAs of requests that name none: name → weight.
    default_loras: Mapping[str, float] = field(default_factory=dict)
    #: Controls that a request may name.
    controls: Mapping[str, Control] = field(default_factory=dict)
    #: Pipeline class of requests with ControlNets or T2I-Adapters by kind; for other kinds it follows from the class
    #: that requests without them have.
    control_pipelines: Mapping[str, str] = field(default_factory=dict)
    #: Additional arguments of the pipeline's call, which override the request's. A key that is the name of a kind holds
    #: a table of arguments for that kind only.
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Field of a request → argument of the pipeline's call, where it differs from the default; '': not passed. A key
    #: that is the name of a kind holds such a table for that kind only.
    fields: Mapping[str, Any] = field(default_factory=dict)
    #: Optional inputs of the kinds without which the pipeline cannot be called.
    needs: tuple[str, ...] = ()
    #: Whether prompts have weights as in AUTOMATIC1111, and may be longer than the text encoder takes.
    prompt_weighting: bool = False
    #: Attribute of the pipeline's output that contains the images; None: ``frames`` or ``images``.
    output: str | None = None
    #: Path or hub id of an AutoencoderTiny that decodes previews; None: a linear map does.
    preview_decoder: str | None = None
    #: What runs it: ``diffusers``; ``remote`` for a model that only back ends have; ``noop``, which only counts steps
    #: (to measure the server itself); or ``drawing``, which draws an image without a model.
    executor: str = "diffusers"
    #: Run limit and start deadline of jobs that set none, seconds. 0: the server's setting applies.
    max_run_s: float = 0
    start_within_s: float = 0
    #: How often its runs store a checkpoint, seconds; 0: only when they are interrupted. None: as the server says.
    checkpoint_interval_s: float | None = None
    #: Slots that may run it (``gpu0``, ``nodeb.gpu0``). Empty: all.
    slots: tuple[str, ...] = ()
    #: How it is loaded and kept in memory.
    load: LoadOptions = field(default_factory=LoadOptions)

    @property
    def has_prior(self) -> bool:
        """Whether the models file declares a prior. ``prior_arguments`` declares one in the model's own folder."""
        return self.prior is not None or self.prior_arguments is not None

    def is_called(self, name: str) -> bool:
        """Return whether an alias of the model is this name."""
        return any(fnmatchcase(name, alias) for alias in self.aliases)

    def limit(self, name: str) -> Range:
        return self.limits.get(name, DEFAULT_LIMITS[name])

    def default(self, name: str) -> Any:
        return self.defaults.get(name, DEFAULTS[name])

    @property
    def qualities(self) -> tuple[str, ...]:
        """The names that a request may give as its quality."""
        return tuple(self.quality if STANDARD in self.quality else (STANDARD, *self.quality))

    def step_cache(self, quality: str | None) -> Mapping[str, Any]:
        """Return ``method`` and options of the step cache of requests with this quality; empty for none."""
        cache: Mapping[str, Any] | None = self.quality.get(quality or STANDARD, {}).get("step_cache")
        return self.load.step_cache if cache is None else cache

    def kind_for(self, kind: Kind) -> Kind | None:
        """Return the kind that does what this one asks for; None: the model has none.

        A model that edits images and has no img2img takes a request for img2img as one for edit: clients of other
        servers know one kind only.
        """
        if kind is Kind.IMG2IMG and kind not in self.kinds:
            kind = Kind.EDIT
        return kind if kind in self.kinds else None

    def arguments_of(self, kind: Kind) -> dict[str, Any]:
        """Return the additional arguments of the pipeline's call for this kind."""
        return _of_kind(self.arguments, kind)

    def fields_of(self, kind: Kind) -> dict[str, Any]:
        """Return the argument names that differ from the default ones for this kind."""
        return _of_kind(self.fields, kind)

    def offers(self, field: str, kind: Kind | None = None) -> bool:
        """Whether the table names an argument for a field that only some pipelines have (of a kind, or of any)."""
        return any(self.fields_of(each).get(field) for each in ([kind] if kind else self.kinds))

    def takes(self, field: str, kind: Kind) -> bool:
        """Return whether a request of this kind may have this input."""
        return field in kind.inputs or (field in kind.optional_inputs and self.offers(field, kind))

    def controls_of(self, kind: Kind) -> list[str]:
        """Return the names of the controls that a request of this kind may have."""
        default = tuple(each for each in CONTROLLED if each in self.kinds)
        return [name for name, control in self.controls.items() if kind in control.kinds_of(default)]

    def needs_prompt(self, kind: Kind) -> bool:
        """Return whether a request of this kind needs a prompt: it has no other input, and the model reads one."""
        reads_it = self.executor != "noop" and self.fields_of(kind).get("prompt") != ""
        return reads_it and not kind.inputs and "prompt" not in self.arguments_of(kind)

    def lora_names(self) -> list[str]:
        """Return the names that a request may use in ``loras``. Reads the folder on each call."""
        return loras.names(Path(self.loras)) if self.loras else []

    @property
    def loadable(self) -> bool:
        """Whether it has weights, which a worker loads into its memory."""
        return self.executor == "diffusers"

    def to_dict(self) -> dict[str, Any]:
        """Return the description for ``GET /v1/models``. Omits sources, which may be paths of the server."""
        names = [name for name in DEFAULT_LIMITS if self._shows(name)]
        return {
            "name": self.name,
            "description": self.description,
            "aliases": list(self.aliases),
            "kinds": [str(kind) for kind in self.kinds],
            "defaults": {
                **{n: self.default(n) for n in names if n in DEFAULTS},
                **{n: self.defaults[n] for n in ("audio_output",) if n in self.defaults},
                "scheduler": self.scheduler,
                "loras": [{"name": name, "weight": weight} for name, weight in self.default_loras.items()],
            },
            "limits": {n: {"min": self.limit(n).low, "max": self.limit(n).high} for n in names},
            "quality": {name: fields_of(self.quality.get(name, {})) for name in self.qualities if self.quality},
            "clamp": self.clamp,
            "size_multiple_px": self.size_multiple_px,
            "frames_step": self.frames_step,
            "schedulers": list(self.schedulers),
            "loras": self.lora_names(),
            "controls": [
                {**control.to_dict(), "kinds": [str(kind) for kind in self.kinds if name in self.controls_of(kind)]}
                for name, control in self.controls.items()
            ],
            "slots": list(self.slots),
            "inputs": {
                str(kind): [name for name in ALL_INPUTS if self.takes(name, kind)] for kind in self.kinds
            },
            "loadable": self.loadable,
        }

    def _shows(self, name: str) -> bool:
        """Whether a limit applies to this model."""
        if name in ("frames", "fps"):
            return any(kind.is_video for kind in self.kinds)
        if name == "num_images":
            return not all(kind.is_video for kind in self.kinds)
        if name == "strength":
            return any(kind.has_strength for kind in self.kinds)
        if name == "images":
            return any(self.takes("images", kind) for kind in self.kinds)
        if name == "controls":
            return bool(self.controls)
        if name in ("clip_skip", "distilled_guidance_scale"):
            return self.offers(name)
        return name != "lora_weight" or self.loras is not None


def _of_kind(table: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """Return the entries for all kinds, overridden by those in the table of this kind."""
    common = {name: value for name, value in table.items() if name not in set(Kind)}
    return {**common, **table.get(kind, {})}
