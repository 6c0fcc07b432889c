"""Read and check the models file: one table for each model.

:class:`ModelSchema` has one field for each key and loads values as :class:`~jobs.models.spec.ModelSpec` holds them. An
error names file, line, model and key.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validate, validates_schema

from jobs.models import loras
from jobs.models.controls import KEYS_OF_REMOTE, ControlType, controls_field, controls_of_tables
from jobs.models.load_options import KEYS as LOAD_OPTION_KEYS
from jobs.models.load_options import LoadOptions, LoadOptionsSchema
from jobs.models.quality import qualities_field
from jobs.models.scheduler_fields import SchedulerField, SchedulersField
from jobs.models.spec import (
    CONTROLLED,
    DEFAULT_LIMITS,
    DEFAULTS,
    LOADERS,
    OPTIONAL_INPUTS,
    Kind,
    ModelSpec,
    Range,
    is_alias,
)
from jobs.models.toml_fields import (
    ChoiceField,
    CountField,
    FlagField,
    IntervalField,
    ListField,
    NumberField,
    StringField,
    TableField,
    TableSchema,
    TextField,
    TypedField,
)
from jobs.process.own_classes import resolved
from jobs.process.toml_lines import TomlFile
from jobs.slots.slot import is_slot
from jobs.suggestions import did_you_mean

EXECUTORS = ("diffusers", "noop", "drawing", "remote")
DTYPES = ("auto", "float32", "float16", "bfloat16")
#: Fields of a request that the call of a pipeline may have under another name.
RENAMABLE_FIELDS = (
    "prompt", "negative_prompt", "steps", "guidance_scale", "width", "height", "frames", "fps", "image", "mask",
    "images", "last_image", "video", "audio", "strength", "num_images", "seed", "audio_output", "clip_skip",
    "distilled_guidance_scale",
)  # fmt: skip
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class _Kinds(TypedField):
    types = (list,)
    default_error_messages = {"invalid": f"must be a list of at least one of {', '.join(Kind)}"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[Kind, ...]:
        names = super()._deserialize(value, attr, data, **kwargs)
        if not names or not all(name in tuple(Kind) for name in names):
            raise self.make_error("invalid")
        return tuple(Kind(name) for name in names)


class _ArgumentName(StringField):
    default_error_messages = {"invalid": "must be the name of an argument, or empty to pass none"}


def _seconds() -> NumberField:
    return NumberField(validate=validate.Range(min=0, error="must be at least 0 seconds"))


_Limits = TableSchema.from_dict({name: IntervalField() for name in DEFAULT_LIMITS}, name="Limits")
_NOT_NUMBERS = {"negative_prompt": StringField, "audio_output": FlagField}
_Defaults = TableSchema.from_dict(
    {name: _NOT_NUMBERS.get(name, NumberField)() for name in DEFAULTS}, name="Defaults"
)
_Pipelines = TableSchema.from_dict({str(kind): TextField() for kind in Kind}, name="Pipelines")
_ArgumentNames = TableSchema.from_dict({name: _ArgumentName() for name in RENAMABLE_FIELDS}, name="ArgumentNames")
#: Names for all kinds, and for each kind a table of names that differ.
_Fields = TableSchema.from_dict(
    {
        **{name: _ArgumentName() for name in RENAMABLE_FIELDS},
        **{str(kind): fields.Nested(_ArgumentNames) for kind in Kind},
    },
    name="Fields",
)


class ModelSchema(LoadOptionsSchema):
    """One table of the models file."""

    source = TextField()
    loader = ChoiceField(LOADERS)
    pipeline = TextField()
    blocks = TextField()
    workflow = TextField()
    revision = TextField()
    kinds = _Kinds(required=True)
    pipelines = fields.Nested(_Pipelines)
    prior = TextField()
    prior_revision = TextField()
    prior_arguments = TableField("arguments of the prior's call")
    dtype = ChoiceField(DTYPES)
    variant = TextField()
    description = TextField()
    quality = qualities_field()
    aliases = ListField("names such as gpt-image-* (letters, digits, '.', '_', ':', '/', '-' and '*')", is_alias)
    defaults = fields.Nested(_Defaults)
    limits = fields.Nested(_Limits)
    clamp = FlagField()
    size_multiple_px = CountField()
    frames_step = CountField()
    audio_rate_hz = CountField()
    scheduler = SchedulerField()
    schedulers = SchedulersField()
    loras = TextField()
    default_loras = TableField("names and weights", NumberField())
    controls = controls_field()
    control_pipelines = fields.Nested(_Pipelines)
    arguments = TableField("arguments of the pipeline's call")
    #: ``fields`` itself is taken by marshmallow.
    argument_names = fields.Nested(_Fields, data_key="fields")
    needs = ListField("optional inputs such as audio", OPTIONAL_INPUTS.__contains__)
    prompt_weighting = FlagField()
    output = TextField()
    preview_decoder = TextField()
    executor = ChoiceField(EXECUTORS)
    max_run_s = _seconds()
    start_within_s = _seconds()
    checkpoint_interval_s = _seconds()
    slots = ListField("slots such as gpu0, nodeb.gpu0 or the name of a back end", is_slot)

    def __init__(self, folder: Path) -> None:
        """``folder``: the folder of the models file, which relative paths start from."""
        super().__init__()
        self._folder = folder

    @validates_schema
    def _check_source(self, table: dict[str, Any], **kwargs: Any) -> None:
        if "source" not in table and table.get("executor", "diffusers") == "diffusers":
            raise ValidationError("must name a folder or a hub id", "source")

    @validates_schema
    def _check_loader(self, table: dict[str, Any], **kwargs: Any) -> None:
        is_modular = table.get("loader") == "modular"
        for key in () if is_modular else ("blocks", "workflow"):
            if key in table:
                raise ValidationError("applies to loader = 'modular' only", key)
        if is_modular:
            for key in ("pipeline", "pipelines", "prior", "prior_arguments", "variant"):
                if key in table:
                    raise ValidationError("does not apply to loader = 'modular'", key)

    @validates_schema
    def _check_kinds(self, table: dict[str, Any], **kwargs: Any) -> None:
        for kind in table.get("pipelines", {}):
            if kind not in table["kinds"]:
                raise ValidationError({"pipelines": {kind: ["is not one of this model's kinds"]}})

    @validates_schema
    def _check_needs(self, table: dict[str, Any], **kwargs: Any) -> None:
        tables = table.get("argument_names", {})
        for name in table.get("needs", ()):
            if not any(names.get(name) for names in (tables, *(tables.get(kind, {}) for kind in table["kinds"]))):
                raise ValidationError(f"names {name}, for which fields has no argument", "needs")

    @validates_schema
    def _check_defaults(self, table: dict[str, Any], **kwargs: Any) -> None:
        for name, value in table.get("defaults", {}).items():
            if name in DEFAULT_LIMITS and value not in (limit := _limit(table, name)):
                raise ValidationError({"defaults": {name: [f"must be {limit}"]}})

    @validates_schema
    def _check_loras(self, table: dict[str, Any], **kwargs: Any) -> None:
        if errors := self._errors_of_loras(table, table.get("default_loras", {})):
            raise ValidationError({"default_loras": errors})

    @validates_schema
    def _check_controls(self, table: dict[str, Any], **kwargs: Any) -> None:
        has_prior = "prior" in table or "prior_arguments" in table
        if table.get("controls") and (has_prior or table.get("loader") == "modular"):
            rule = f"does not apply to {'a model with a prior' if has_prior else 'loader = modular'}"
            raise ValidationError(rule, "controls")
        if "control_pipelines" in table and not table.get("controls"):
            raise ValidationError("needs the key controls", "control_pipelines")
        for name, control in table.get("controls", {}).items():
            unknown = [kind for kind in control.get("kinds", ()) if kind not in table["kinds"] or kind == Kind.MIX2IMG]
            if unknown:
                raise ValidationError({"controls": {name: {"kinds": [f"{unknown[0]} is not one of this model's"]}}})
            if not control.get("kinds") and not set(CONTROLLED) & set(table["kinds"]):
                rule = "is required: the model has none of " + ", ".join(CONTROLLED)
                raise ValidationError({"controls": {name: {"kinds": [rule]}}})

    @validates_schema
    def _check_controls_of_back_ends(self, table: dict[str, Any], **kwargs: Any) -> None:
        if table.get("executor") != "remote":
            return
        for name, control in table.get("controls", {}).items():
            errors = {key: ["does not apply to executor = remote"] for key in control.keys() - KEYS_OF_REMOTE}
            if control["type"] is not ControlType.CONTROLNET:
                errors = {"type": ["must be controlnet for executor = remote"]}
            if errors:
                raise ValidationError({"controls": {name: errors}})

    @validates_schema
    def _check_qualities(self, table: dict[str, Any], **kwargs: Any) -> None:
        offered = {table.get("scheduler"), *table.get("schedulers", ())}
        for name, quality in table.get("quality", {}).items():
            errors: dict[str, Any] = {
                field: [f"must be {limit}"]
                for field, value in quality.items()
                if field in DEFAULT_LIMITS and value not in (limit := _limit(table, field))
            }
            if quality.get("scheduler") not in (None, *offered):
                errors["scheduler"] = ["must be one of the model's schedulers"]
            if weights := self._errors_of_loras(table, quality.get("loras", {})):
                errors["loras"] = weights
            if errors:
                raise ValidationError({"quality": {name: errors}})

    def _errors_of_loras(self, table: dict[str, Any], weights: dict[str, float]) -> Any:
        """Return what is wrong with the names and weights of LoRAs, as marshmallow reports it; empty for nothing."""
        if weights and "loras" not in table:
            return ["needs the key loras, the folder of the files"]
        limit, errors = _limit(table, "lora_weight"), {}
        for name, weight in weights.items():
            if loras.path_of(self._folder / table["loras"], name) is None:
                rule = f"{table['loras']} has no {loras.SUFFIX} file of this name"
                errors[name] = [rule + did_you_mean(name, loras.names(self._folder / table["loras"]))]
            elif weight not in limit:
                errors[name] = [f"must be {limit}"]
        return errors


#: Every key of a model's table.
KEYS = frozenset(field.data_key or name for name, field in ModelSchema(Path()).fields.items())


def read(path: Path) -> list[ModelSpec]:
    """Read and check the whole file.

    Raises:
        BadSetting: unreadable file, syntax error, unknown key, wrong type or value.
    """
    file = TomlFile.read(path, "MODELS_FILE")
    schema = ModelSchema(path.parent)
    specs = []
    for name in file.tables:
        values = file.load(schema, name)
        if not _NAME.fullmatch(name):
            raise file.error((name, "name"), "must be at most 64 letters, digits, '.', '_' and '-'")
        specs.append(_spec(name, values, path.parent))
    return specs


def _spec(name: str, values: dict[str, Any], folder: Path) -> ModelSpec:
    load = LoadOptions(**{key: values.pop(key) for key in LOAD_OPTION_KEYS & values.keys()})
    load = replace(load, gguf={part: _folder_or_hub_id(folder, file) for part, file in load.gguf.items()})
    values.setdefault("source", values.get("executor"))
    if "argument_names" in values:
        values["fields"] = values.pop("argument_names")
    weights = values.get("default_loras", {})
    values["default_loras"] = {name.removesuffix(loras.SUFFIX): float(weight) for name, weight in weights.items()}
    tables = values.pop("controls", {})
    is_remote = values.get("executor") == "remote"  # then the source is a name on the back end
    values["controls"] = controls_of_tables(
        tables, lambda source: source if is_remote else _folder_or_hub_id(folder, source)
    )
    spec = ModelSpec(name=name, load=load, **values)
    return replace(
        spec,
        source=_folder_or_hub_id(folder, spec.source),
        pipeline=resolved(folder, spec.pipeline) if spec.pipeline else None,
        pipelines={kind: resolved(folder, name) for kind, name in spec.pipelines.items()},
        prior=_folder_or_hub_id(folder, spec.prior) if spec.prior else None,
        preview_decoder=_folder_or_hub_id(folder, spec.preview_decoder) if spec.preview_decoder else None,
        loras=str(folder / spec.loras) if spec.loras else None,
    )


def _folder_or_hub_id(folder: Path, source: str) -> str:
    """Return the absolute path of a folder beside the models file; anything else is a hub id and stays as it is."""
    path = folder / source
    return str(path) if path.exists() or source.startswith((".", "/")) else source


def _limit(table: dict[str, Any], name: str) -> Range:
    limit: Range = table.get("limits", {}).get(name, DEFAULT_LIMITS[name])
    return limit
