"""What a model is: one table of the models file, checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from jobs.models import loras
from jobs.models.load_options import LoadOptions


class Kind(StrEnum):
    """What a job does."""

    TEXT2IMG = "text2img"
    IMG2IMG = "img2img"
    INPAINT = "inpaint"
    MIX2IMG = "mix2img"
    TEXT2VIDEO = "text2video"
    IMG2VIDEO = "img2video"

    @property
    def is_video(self) -> bool:
        return self in (Kind.TEXT2VIDEO, Kind.IMG2VIDEO)

    @property
    def inputs(self) -> frozenset[str]:
        """The fields beside the prompt that it must have, and that no other kind may have."""
        return _INPUTS.get(self, frozenset())

    @property
    def has_strength(self) -> bool:
        return self in (Kind.IMG2IMG, Kind.INPAINT)


_INPUTS = {
    Kind.IMG2IMG: frozenset({"image"}),
    Kind.INPAINT: frozenset({"image", "mask"}),
    Kind.MIX2IMG: frozenset({"mix"}),
    Kind.IMG2VIDEO: frozenset({"image"}),
}


@dataclass(frozen=True)
class Range:
    """An allowed interval, both ends included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    def nearest(self, value: float, step: int, offset: int = 0) -> int:
        """Of the numbers ``step`` × n + ``offset`` inside the interval, the nearest one."""
        nearest = round((value - offset) / step) * step + offset
        if nearest > self.high:
            return int((self.high - offset) // step) * step + offset
        if nearest < self.low:
            return int(-((offset - self.low) // step)) * step + offset
        return nearest


#: Limits of a model that states none of its own.
DEFAULT_LIMITS: dict[str, Range] = {
    "steps": Range(1, 200),
    "width": Range(16, 4096),
    "height": Range(16, 4096),
    "frames": Range(1, 1025),
    "fps": Range(1, 120),
    "guidance_scale": Range(0, 50),
    "strength": Range(0, 1),
    "num_images": Range(1, 4),
    "lora_weight": Range(-2, 2),
    "prompt_chars": Range(0, 10_000),
}

DEFAULTS: dict[str, Any] = {
    "steps": 30, "width": 512, "height": 512, "guidance_scale": 5.0, "frames": 17, "fps": 16.0, "strength": 0.6,
    "num_images": 1, "negative_prompt": "",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One table of the models file."""

    name: str
    #: Folder (absolute, or relative to the models file) or hub id of a diffusers pipeline.
    source: str
    #: Commit or tag on the hub.
    revision: str | None = None
    kinds: tuple[Kind, ...]
    #: Pipeline class by kind; a kind that is absent uses the folder's own class.
    pipelines: Mapping[str, str] = field(default_factory=dict)
    #: Folder or hub id of a pipeline that runs first and turns texts (and images) into embeddings for this one.
    prior: str | None = None
    #: Its commit or tag on the hub.
    prior_revision: str | None = None
    #: Arguments of the prior's call; None: the model has no prior, unless ``prior`` names it.
    prior_arguments: Mapping[str, Any] | None = None
    #: ``auto``: float32 on a CPU, float16 for images and bfloat16 for video on a GPU.
    dtype: str = "auto"
    #: Weight variant, for example ``fp16``.
    variant: str | None = None
    description: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Range] = field(default_factory=dict)
    #: Width and height are rounded to a multiple of this, pixels.
    size_multiple_px: int = 8
    #: Frames must be ``frames_step * n + 1``.
    frames_step: int = 1
    #: Scheduler of requests that name none; None: the folder's own.
    scheduler: str | None = None
    #: Schedulers that a request may name (canonical names, see ``jobs.models.schedulers``).
    schedulers: tuple[str, ...] = ()
    #: Folder of LoRA files that a request may name.
    loras: str | None = None
    #: LoRAs of requests that name none: name → weight.
    default_loras: Mapping[str, float] = field(default_factory=dict)
    #: Further arguments of the pipeline's call; they win over the request's. A kind's name holds those of this kind.
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Field of a request → argument of the pipeline's call, where it is not the usual one; empty: not passed.
    fields: Mapping[str, Any] = field(default_factory=dict)
    #: Attribute of the pipeline's output that holds the pictures; None: ``frames`` or ``images``.
    output: str | None = None
    #: Folder or hub id of an AutoencoderTiny that draws previews; None: a linear map does.
    preview_decoder: str | None = None
    #: What computes it: ``diffusers``; ``remote`` for a model that only back ends have; ``noop``, which only counts
    #: steps (for measuring the server itself); or ``drawing``, which draws a picture without a model.
    executor: str = "diffusers"
    #: Longest run and deadline to start of its jobs unless they set their own, seconds. 0: the server's setting.
    max_run_s: float = 0
    start_within_s: float = 0
    #: Slots that may run it (``gpu0``, ``nodeb.gpu0``). Empty: all.
    slots: tuple[str, ...] = ()
    #: How it is loaded and held in memory.
    load: LoadOptions = field(default_factory=LoadOptions)

    @property
    def has_prior(self) -> bool:
        """By what the models file says. One that lies in the model's own folder shows in ``prior_arguments``."""
        return self.prior is not None or self.prior_arguments is not None

    def limit(self, name: str) -> Range:
        return self.limits.get(name, DEFAULT_LIMITS[name])

    def default(self, name: str) -> Any:
        return self.defaults.get(name, DEFAULTS[name])

    def arguments_of(self, kind: Kind) -> dict[str, Any]:
        """Further arguments of the call for this kind."""
        return _of_kind(self.arguments, kind)

    def fields_of(self, kind: Kind) -> dict[str, Any]:
        """Names of arguments that differ from the usual ones, for this kind."""
        return _of_kind(self.fields, kind)

    def lora_names(self) -> list[str]:
        """What a request may name in ``loras``; looked up anew each time."""
        return loras.names(Path(self.loras)) if self.loras else []

    def to_dict(self) -> dict[str, Any]:
        """What ``GET /v1/models`` shows. Sources are left out: they may be server paths."""
        names = [name for name in DEFAULT_LIMITS if self._shows(name)]
        return {
            "name": self.name,
            "description": self.description,
            "kinds": [str(kind) for kind in self.kinds],
            "defaults": {
                **{n: self.default(n) for n in names if n in DEFAULTS},
                "scheduler": self.scheduler,
                "loras": [{"name": name, "weight": weight} for name, weight in self.default_loras.items()],
            },
            "limits": {n: {"min": self.limit(n).low, "max": self.limit(n).high} for n in names},
            "size_multiple_px": self.size_multiple_px,
            "frames_step": self.frames_step,
            "schedulers": list(self.schedulers),
            "loras": self.lora_names(),
            "slots": list(self.slots),
        }

    def _shows(self, name: str) -> bool:
        """Whether a limit means something for this model."""
        if name in ("frames", "fps"):
            return any(kind.is_video for kind in self.kinds)
        if name == "num_images":
            return not all(kind.is_video for kind in self.kinds)
        if name == "strength":
            return any(kind.has_strength for kind in self.kinds)
        return name != "lora_weight" or self.loras is not None


def _of_kind(table: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """The entries for all kinds, and over them those in a table that is named like this kind."""
    common = {name: value for name, value in table.items() if name not in set(Kind)}
    return {**common, **table.get(kind, {})}
