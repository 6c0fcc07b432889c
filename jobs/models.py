"""The models file: name → what the model is, what it can do and within which limits.

The API validates requests from it without torch; the workers load pipelines from it. A mistake is a
:class:`~jobs.errors.BadSetting` that names file, model and key, raised when a process starts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from jobs.errors import BadSetting, ModelNotFound
from jobs.slots import is_slot


class Kind(StrEnum):
    """What a job does."""

    TEXT2IMG = "text2img"
    IMG2IMG = "img2img"
    TEXT2VIDEO = "text2video"
    IMG2VIDEO = "img2video"

    @property
    def is_video(self) -> bool:
        return self in (Kind.TEXT2VIDEO, Kind.IMG2VIDEO)

    @property
    def needs_image(self) -> bool:
        return self in (Kind.IMG2IMG, Kind.IMG2VIDEO)


@dataclass(frozen=True)
class Range:
    """An allowed interval, both ends included."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


#: Limits of a model that states none of its own.
DEFAULT_LIMITS: dict[str, Range] = {
    "steps": Range(1, 200),
    "width": Range(16, 4096),
    "height": Range(16, 4096),
    "frames": Range(1, 1025),
    "fps": Range(1, 120),
    "guidance_scale": Range(0, 50),
    "strength": Range(0, 1),
    "prompt_chars": Range(0, 10_000),
}

_DEFAULTS: dict[str, Any] = {
    "steps": 30, "width": 512, "height": 512, "guidance_scale": 5.0, "frames": 17, "fps": 16.0, "strength": 0.6,
    "negative_prompt": "",
}  # fmt: skip
_KEYS = {"source", "revision", "kinds", "pipelines", "dtype", "variant", "description", "defaults", "limits",
         "size_multiple_px", "frames_step", "slots", "executor", "max_run_s", "start_within_s",
         "arguments", "preview_decoder"}  # fmt: skip
EXECUTORS = ("diffusers", "noop", "remote")
_DTYPES = ("auto", "float32", "float16", "bfloat16")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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
    #: Further arguments of the pipeline's call; they win over the request's.
    arguments: Mapping[str, Any] = field(default_factory=dict)
    #: Folder or hub id of an AutoencoderTiny that draws previews; empty: a linear map does.
    preview_decoder: str = ""
    #: What computes it: ``diffusers``; ``remote`` for a model that only back ends have; or ``noop``, which only counts
    #: steps (for measuring the server itself).
    executor: str = "diffusers"
    #: Longest run and deadline to start of its jobs unless they set their own, seconds. 0: the server's setting.
    max_run_s: float = 0
    start_within_s: float = 0
    #: Slots that may run it (``gpu0``, ``nodeb.gpu0``). Empty: all.
    slots: tuple[str, ...] = ()

    def limit(self, name: str) -> Range:
        return self.limits.get(name, DEFAULT_LIMITS[name])

    def default(self, name: str) -> Any:
        return self.defaults.get(name, _DEFAULTS[name])

    def to_dict(self) -> dict[str, Any]:
        """What ``GET /v1/models`` shows. The source is left out: it may be a server path."""
        names = [n for n in DEFAULT_LIMITS if n not in ("frames", "fps") or any(k.is_video for k in self.kinds)]
        return {
            "name": self.name,
            "description": self.description,
            "kinds": [str(kind) for kind in self.kinds],
            "defaults": {n: self.default(n) for n in names if n in _DEFAULTS},
            "limits": {n: {"min": self.limit(n).low, "max": self.limit(n).high} for n in names},
            "size_multiple_px": self.size_multiple_px,
            "frames_step": self.frames_step,
            "slots": list(self.slots),
        }


class ModelRegistry:
    """All models, by name; the first one of a kind is that kind's default."""

    def __init__(self, specs: list[ModelSpec]) -> None:
        self._specs = {spec.name: spec for spec in specs}

    @classmethod
    def from_file(cls, path: Path) -> ModelRegistry:
        """Read and check the whole file.

        Raises:
            BadSetting: unreadable file, syntax error, unknown key, wrong type or value.
        """
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as exc:
            raise BadSetting(f"MODELS_FILE {path} cannot be read: {exc.strerror}") from exc
        except tomllib.TOMLDecodeError as exc:
            raise BadSetting(f"{path}: {exc}") from exc
        return cls([_spec(path, name, table) for name, table in tables.items()])

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._specs.values())

    def names(self) -> list[str]:
        return list(self._specs)

    def get(self, name: str) -> ModelSpec:
        """Raises: ModelNotFound."""
        try:
            return self._specs[name]
        except KeyError:
            raise ModelNotFound(f"there is no model {name!r}; known: {', '.join(self._specs) or 'none'}") from None

    def default_for(self, kind: Kind) -> ModelSpec | None:
        return next((spec for spec in self if kind in spec.kinds), None)

    def for_slot(self, slot: str, only: Collection[str] | None = None) -> list[ModelSpec]:
        """The models that this slot may run; ``only``: what its back end has, None for a device of our own."""
        return [
            spec
            for spec in self
            if (not spec.slots or slot in spec.slots)
            and (spec.executor != "remote" if only is None else spec.name in only)
        ]


def _spec(path: Path, name: str, table: Any) -> ModelSpec:
    def bad(key: str, rule: str) -> BadSetting:
        return BadSetting(f"{path}: [{name}] {key}: {rule}")

    if not _NAME.fullmatch(name):
        raise bad("name", "letters, digits, '.', '_' and '-' only, at most 64")
    if not isinstance(table, dict):
        raise bad("table", "must be a table")
    for key in table.keys() - _KEYS:
        raise bad(key, f"unknown key; known: {', '.join(sorted(_KEYS))}")
    executor = table.get("executor", "diffusers")
    if executor not in EXECUTORS:
        raise bad("executor", f"must be one of {', '.join(EXECUTORS)}")
    source = table.get("source", "" if executor == "diffusers" else executor)
    if not isinstance(source, str) or not source:
        raise bad("source", "must name a folder or a hub id")
    source = _located(path, source)
    decoder = table.get("preview_decoder", "")
    if not isinstance(decoder, str):
        raise bad("preview_decoder", "must name a folder or a hub id")
    try:
        kinds = tuple(Kind(kind) for kind in table.get("kinds", ()))
    except (ValueError, TypeError):
        raise bad("kinds", f"must be a list out of {', '.join(Kind)}") from None
    if not kinds:
        raise bad("kinds", f"must name at least one of {', '.join(Kind)}")
    if table.get("dtype", "auto") not in _DTYPES:
        raise bad("dtype", f"must be one of {', '.join(_DTYPES)}")
    for key in ("size_multiple_px", "frames_step"):
        if not isinstance(table.get(key, 1), int) or table.get(key, 1) < 1:
            raise bad(key, "must be a whole number of at least 1")
    if not isinstance(table.get("arguments", {}), dict):
        raise bad("arguments", "must be a table of arguments of the pipeline's call")
    for key in ("max_run_s", "start_within_s"):
        if not isinstance(table.get(key, 0), int | float) or table.get(key, 0) < 0:
            raise bad(key, "must be seconds, 0 or more")
    pipelines = table.get("pipelines", {})
    if not (isinstance(pipelines, dict) and all(k in kinds and isinstance(v, str) for k, v in pipelines.items())):
        raise bad("pipelines", "must map kinds of this model to names of pipeline classes")
    slots = table.get("slots", [])
    if not (isinstance(slots, list) and all(isinstance(slot, str) and is_slot(slot) for slot in slots)):
        raise bad("slots", "must be a list of slots like gpu0, nodeb.gpu0 or the name of a back end")
    limits = dict(_limits(table.get("limits", {}), bad))
    defaults = table.get("defaults", {})
    for key, value in defaults.items():
        if key not in _DEFAULTS:
            raise bad(f"defaults.{key}", f"unknown key; known: {', '.join(_DEFAULTS)}")
        allowed = limits.get(key, DEFAULT_LIMITS.get(key))
        if allowed and (not isinstance(value, int | float) or value not in allowed):
            raise bad(f"defaults.{key}", f"must be {allowed}")
    return ModelSpec(
        name=name, source=source, kinds=kinds, limits=limits, defaults=defaults,
        slots=tuple(slots), preview_decoder=_located(path, decoder) if decoder else "",
        **{key: table[key] for key in ("revision", "pipelines", "dtype", "variant", "description",
                                       "size_multiple_px", "frames_step", "executor", "max_run_s", "start_within_s",
                                       "arguments") if key in table},
    )  # fmt: skip


def _located(path: Path, source: str) -> str:
    """A hub id as it is, a folder from where the models file lies."""
    folder = path.parent / source
    return str(folder) if folder.exists() or source.startswith((".", "/")) else source


def _limits(table: Any, bad: Any) -> Any:
    for key, value in table.items():
        if key not in DEFAULT_LIMITS:
            raise bad(f"limits.{key}", f"unknown key; known: {', '.join(DEFAULT_LIMITS)}")
        if not (isinstance(value, list) and len(value) == 2 and all(isinstance(v, int | float) for v in value)
                and value[0] <= value[1]):  # fmt: skip
            raise bad(f"limits.{key}", "must be [lowest, highest]")
        yield key, Range(*value)
