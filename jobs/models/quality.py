"""Qualities of a model: names such as ``draft``, each a table of values that a request with this quality has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields

from jobs.models.scheduler_fields import SchedulerField
from jobs.models.step_caches import StepCacheField
from jobs.models.toml_fields import NumberField, TableField, TableSchema

#: The quality of requests that name none: the model's defaults, whether or not it has a table for it.
STANDARD = "standard"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


class QualitySchema(TableSchema):
    """The values of one quality."""

    steps = NumberField()
    guidance_scale = NumberField()
    distilled_guidance_scale = NumberField()
    scheduler = SchedulerField()
    loras = TableField("names and weights", NumberField())
    step_cache = StepCacheField()


#: Values that stand for fields of a request.
REQUEST_FIELDS = ("steps", "guidance_scale", "distilled_guidance_scale", "scheduler", "loras")


class QualitiesField(TableField):
    """A table of qualities by name."""

    def __init__(self) -> None:
        super().__init__("qualities by name, each a table", fields.Nested(QualitySchema))

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        tables = super()._deserialize(value, attr, data, **kwargs)
        rule = "must be at most 32 lower-case letters, digits, '_' and '-', and begin with a letter"
        if errors := {name: [rule] for name in tables if not _NAME.fullmatch(name)}:
            raise ValidationError(errors)
        return tables


def fields_of(quality: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that a quality sets."""
    values = {name: quality[name] for name in REQUEST_FIELDS if name in quality}
    if "loras" in values:
        values["loras"] = [{"name": name, "weight": weight} for name, weight in values["loras"].items()]
    return values
