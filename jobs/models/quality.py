"""Qualities of a model: names such as ``draft``, each a table of values that a request with this quality has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jobs.models.scheduler_fields import SchedulerField
from jobs.models.step_caches import StepCacheField
from jobs.models.toml_fields import NamedTablesField, NumberField, TableField, TableSchema

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


def qualities_field() -> NamedTablesField:
    """Return the field of a model's qualities."""
    rule = "must be at most 32 lower-case letters, digits, '_' and '-', and begin with a letter"
    return NamedTablesField("qualities", QualitySchema, _NAME, rule)


def fields_of(quality: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that a quality sets."""
    values = {name: quality[name] for name in REQUEST_FIELDS if name in quality}
    if "loras" in values:
        values["loras"] = [{"name": name, "weight": weight} for name, weight in values["loras"].items()]
    return values
