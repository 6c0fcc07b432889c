"""Reading and checking the models file.

Each key of a table has one checker in :data:`KEYS`, which gives the value as :class:`~jobs.models.spec.ModelSpec` holds
it. What concerns several keys is checked after that. A mistake names file, line, model and key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.errors import BadSetting
from jobs.models import load_options, loras, schedulers
from jobs.models.spec import DEFAULT_LIMITS, DEFAULTS, Kind, ModelSpec, Range
from jobs.models.toml_lines import line_of
from jobs.slots.slot import is_slot

EXECUTORS = ("diffusers", "noop", "drawing", "remote")
DTYPES = ("auto", "float32", "float16", "bfloat16")
#: Fields of a request that a pipeline's call can be given under another name.
FIELDS = frozenset(
    {"prompt", "negative_prompt", "steps", "guidance_scale", "width", "height", "frames", "fps", "image", "mask",
     "strength", "num_images", "seed"}
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

#: Gives the value to keep, or raises Broken.
Checker = Callable[[Any], Any]


class Broken(Exception):
    """A rule that a value breaks; ``path`` leads from the key to the part of it that is wrong."""

    def __init__(self, rule: str, *path: str) -> None:
        super().__init__(rule)
        self.rule, self.path = rule, path


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Broken("must be text")
    return value


def whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Broken("must be a whole number of at least 1")
    return value


def seconds(value: Any) -> float:
    if not is_number(value) or value < 0:
        raise Broken("must be seconds, 0 or more")
    return float(value)


def one_of(*allowed: str) -> Checker:
    def check(value: Any) -> str:
        if value not in allowed:
            raise Broken(f"must be one of {', '.join(allowed)}")
        return str(value)

    return check


def list_of(what: str, fits: Callable[[Any], bool]) -> Checker:
    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) and fits(item) for item in value):
            raise Broken(f"must be a list of {what}")
        return tuple(value)

    return check


def table(what: str) -> Checker:
    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Broken(f"must be a table of {what}")
        return value

    return check


def kinds(value: Any) -> tuple[Kind, ...]:
    rule = f"must name at least one of {', '.join(Kind)}"
    try:
        found = tuple(Kind(kind) for kind in value)
    except (ValueError, TypeError):
        raise Broken(rule) from None
    if not found:
        raise Broken(rule)
    return found


def pipelines(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise Broken("must map kinds of this model to names of pipeline classes")
    return value


def limits(value: Any) -> dict[str, Range]:
    found = {}
    for key, pair in table("limits")(value).items():
        known(key, DEFAULT_LIMITS)
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) and pair[0] <= pair[1]):
            raise Broken("must be [lowest, highest]", key)
        found[key] = Range(*pair)
    return found


def defaults(value: Any) -> dict[str, Any]:
    for key, default in table("default values")(value).items():
        known(key, DEFAULTS)
        if not (isinstance(default, str) if key == "negative_prompt" else is_number(default)):
            raise Broken("must be text" if key == "negative_prompt" else "must be a number", key)
    return dict(value)


def scheduler(value: Any) -> str:
    choice = schedulers.parse(value) if isinstance(value, str) else None
    if choice is None:
        raise Broken(f"unknown scheduler; known: {', '.join(schedulers.SAMPLERS)}, some with a schedule after it")
    return str(choice)


def scheduler_list(value: Any) -> tuple[str, ...]:
    if value in schedulers.FAMILIES:
        return schedulers.names_of(value)
    if not isinstance(value, list):
        raise Broken(f"must be one of {', '.join(schedulers.FAMILIES)}, or a list of schedulers")
    return tuple(scheduler(name) for name in value)


def weights(value: Any) -> dict[str, float]:
    for name, weight in table("names and weights")(value).items():
        if not is_number(weight):
            raise Broken("must be a number", name)
    return {name.removesuffix(loras.SUFFIX): float(weight) for name, weight in value.items()}


def field_names(value: Any) -> dict[str, Any]:
    """``prompt = "text"``; a kind's name may hold such a table of its own."""
    for key, name in table("fields and names of arguments")(value).items():
        if key in set(Kind) and isinstance(name, dict):
            try:
                field_names(name)
            except Broken as exc:
                raise Broken(exc.rule, key, *exc.path) from None
            continue
        known(key, FIELDS)
        if not isinstance(name, str):
            raise Broken("must be the name of an argument, or empty to pass none", key)
    return dict(value)


#: Every key of a table, and what checks it.
KEYS: dict[str, Checker] = {
    "source": text,
    "revision": text,
    "kinds": kinds,
    "pipelines": pipelines,
    "prior": text,
    "prior_revision": text,
    "prior_arguments": table("arguments of the prior's call"),
    "dtype": one_of(*DTYPES),
    "variant": text,
    "description": text,
    "defaults": defaults,
    "limits": limits,
    "size_multiple_px": whole,
    "frames_step": whole,
    "scheduler": scheduler,
    "schedulers": scheduler_list,
    "loras": text,
    "default_loras": weights,
    "arguments": table("arguments of the pipeline's call"),
    "fields": field_names,
    "output": text,
    "preview_decoder": text,
    "executor": one_of(*EXECUTORS),
    "max_run_s": seconds,
    "start_within_s": seconds,
    "slots": list_of("slots like gpu0, nodeb.gpu0 or the name of a back end", is_slot),
}


#: … and those that say how it is loaded, which are checked together.
ALL_KEYS = KEYS.keys() | load_options.KEYS


def read(path: Path) -> list[ModelSpec]:
    """Read and check the whole file.

    Raises:
        BadSetting: unreadable file, syntax error, unknown key, wrong type or value.
    """
    try:
        content = path.read_text(encoding="utf-8")
        tables = tomllib.loads(content)
    except OSError as exc:
        raise BadSetting(f"MODELS_FILE {path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:  # a syntax error (it tells the line), or not UTF-8
        raise BadSetting(f"{path}: {exc}") from exc
    specs = []
    for name, values in tables.items():
        try:
            specs.append(_spec(path, name, values))
        except Broken as exc:
            line = line_of(content, (name, *exc.path))
            key = ".".join(exc.path) or "table"
            raise BadSetting(f"{path}:{line}: [{name}] {key}: {exc.rule}") from None
    return specs


def _spec(path: Path, name: str, values: Any) -> ModelSpec:
    if not isinstance(values, dict):
        raise Broken("must be a table")
    if not _NAME.fullmatch(name):
        raise Broken("letters, digits, '.', '_' and '-' only, at most 64", "name")
    checked: dict[str, Any] = {}
    for key, value in values.items():
        known(key, ALL_KEYS)
        if key in load_options.KEYS:
            continue
        try:
            checked[key] = KEYS[key](value)
        except Broken as exc:
            raise Broken(exc.rule, key, *exc.path) from None
    if checked.get("executor", "diffusers") != "diffusers":
        checked.setdefault("source", checked["executor"])
    for key, rule in (("source", "must name a folder or a hub id"), ("kinds", kinds)):
        if key not in checked:
            raise Broken(rule if isinstance(rule, str) else f"must name at least one of {', '.join(Kind)}", key)
    loading = load_options.parse(values, lambda key, rule: Broken(rule, *key.split(".")))
    spec = ModelSpec(name=name, load=loading, **checked)
    _check_together(spec, path.parent)
    return replace(
        spec,
        source=_beside(path, spec.source),
        prior=_beside(path, spec.prior) if spec.prior else None,
        preview_decoder=_beside(path, spec.preview_decoder) if spec.preview_decoder else None,
        loras=str(path.parent / spec.loras) if spec.loras else None,
    )


def _check_together(spec: ModelSpec, folder: Path) -> None:
    for kind in spec.pipelines:
        if kind not in spec.kinds:
            raise Broken("must map kinds of this model to names of pipeline classes", "pipelines", kind)
    for key, value in spec.defaults.items():
        if key in DEFAULT_LIMITS and value not in spec.limit(key):
            raise Broken(f"must be {spec.limit(key)}", "defaults", key)
    if spec.default_loras and not spec.loras:
        raise Broken("needs loras, the folder of its files", "default_loras")
    for lora, weight in spec.default_loras.items():
        if loras.path_of(folder / str(spec.loras), lora) is None:
            raise Broken(f"there is no such {loras.SUFFIX} file in {spec.loras}", "default_loras", lora)
        if weight not in spec.limit("lora_weight"):
            raise Broken(f"must be {spec.limit('lora_weight')}", "default_loras", lora)


def _beside(path: Path, source: str) -> str:
    """A folder beside the models file, as an absolute path; else a hub id."""
    folder = path.parent / source
    return str(folder) if folder.exists() or source.startswith((".", "/")) else source


def known(key: str, names: Collection[str] | Mapping[str, Any]) -> None:
    """Raises: Broken."""
    if key not in names:
        raise Broken(f"unknown key; known: {', '.join(sorted(names))}", key)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
