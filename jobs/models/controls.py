"""Controls: networks beside a model that steer its output by an image, as tables of the models file.

Requests name them in ``controls``, each with an image. :mod:`workers.pipelines.controls` loads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from marshmallow import ValidationError, fields, validates_schema

from jobs.models.toml_fields import (
    ChoiceField,
    IntegerField,
    IntervalField,
    ListField,
    NamedTablesField,
    NumberField,
    Range,
    StringField,
    TableSchema,
    TextField,
)


class ControlType(StrEnum):
    """How a control steers an output."""

    #: Its features are added in every step; the image has the shape of the output: edges, depth, a pose.
    CONTROLNET = "controlnet"
    #: A smaller network of the same use, which runs once.
    T2I_ADAPTER = "t2i-adapter"
    #: The image is a prompt: its content or style is taken over.
    IP_ADAPTER = "ip-adapter"

    @property
    def is_spatial(self) -> bool:
        """Whether the image is laid over the output, so that it has the output's shape."""
        return self is not ControlType.IP_ADAPTER


#: Weight of a control, where its table sets no limit.
SCALES = Range(0, 2)
#: Share of the steps at which a control begins or ends.
SHARES = Range(0, 1)
SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Keys that only controls of one type have.
_ONLY = {
    "weight_name": ControlType.IP_ADAPTER, "image_encoder": ControlType.IP_ADAPTER,
    "image_encoder_subfolder": ControlType.IP_ADAPTER, "mode": ControlType.CONTROLNET,
}  # fmt: skip
#: Keys that controls of back ends have.
KEYS_OF_REMOTE = frozenset({"type", "source", "description", "kinds", "defaults", "limits"})


@dataclass(frozen=True, kw_only=True)
class Control:
    """One control of a model."""

    name: str
    type: ControlType
    #: Folder or hub id; of a model that only back ends have, the name of the control's model there.
    source: str
    #: Folder within the source; '' for the source itself.
    subfolder: str = ""
    #: Commit or tag on the hub.
    revision: str | None = None
    #: Weight variant, for example ``fp16``.
    variant: str | None = None
    #: File of an IP-Adapter, in the subfolder.
    weight_name: str = ""
    #: Folder or hub id of the image encoder of an IP-Adapter, and the folder within it.
    image_encoder: str = ""
    image_encoder_subfolder: str = ""
    description: str = ""
    #: Kinds of jobs; empty: those of images that the model has.
    kinds: tuple[str, ...] = ()
    #: Number of the kind of image, for ControlNets that were trained for several (``control_mode``).
    mode: int | None = None
    #: Weight, and the shares of the steps at which the control begins and ends, of requests that name none.
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    scales: Range = SCALES

    def kinds_of(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """Return its kinds of jobs; ``default``: those that a table has which names none."""
        if self.type is ControlType.T2I_ADAPTER and not self.kinds:
            return tuple(kind for kind in default if kind == "text2img")
        return self.kinds or default

    @property
    def encoder(self) -> tuple[str, str]:
        """Source and folder of the image encoder. IP-Adapters with the same one can be combined."""
        return self.image_encoder, self.image_encoder_subfolder

    def to_dict(self) -> dict[str, Any]:
        """Return the description for ``GET /v1/models``, without sources."""
        return {
            "name": self.name, "type": str(self.type), "description": self.description,
            "defaults": {"scale": self.scale, "start": self.start, "end": self.end},
            "limits": {"scale": {"min": self.scales.low, "max": self.scales.high}},
        }  # fmt: skip


class _Type(ChoiceField):
    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> ControlType:
        return ControlType(super()._deserialize(value, attr, data, **kwargs))


class _Limits(TableSchema):
    scale = IntervalField()


class _Defaults(TableSchema):
    scale = NumberField()
    start = NumberField()
    end = NumberField()


class ControlSchema(TableSchema):
    """The table of one control."""

    type = _Type(tuple(ControlType), required=True)
    source = TextField(required=True)
    subfolder = StringField()
    revision = TextField()
    variant = TextField()
    weight_name = TextField()
    image_encoder = TextField()
    image_encoder_subfolder = StringField()
    description = StringField()
    kinds = ListField("kinds of jobs")
    mode = IntegerField()
    defaults = fields.Nested(_Defaults)
    limits = fields.Nested(_Limits)

    @validates_schema
    def _check_type(self, table: dict[str, Any], **kwargs: Any) -> None:
        for key, only in _ONLY.items():
            if key in table and table["type"] is not only:
                raise ValidationError(f"applies to type = {only.value!r} only", key)
        if table["type"] is ControlType.IP_ADAPTER and not table.get("weight_name", "").endswith(SUFFIX):
            raise ValidationError(f"must name a {SUFFIX} file", "weight_name")

    @validates_schema
    def _check_defaults(self, table: dict[str, Any], **kwargs: Any) -> None:
        defaults, scales = table.get("defaults", {}), table.get("limits", {}).get("scale", SCALES)
        allowed = {"scale": scales, "start": SHARES, "end": SHARES}
        errors = {name: [f"must be {allowed[name]}"] for name, value in defaults.items() if value not in allowed[name]}
        if errors:
            raise ValidationError({"defaults": errors})
        if defaults.get("start", 0.0) >= defaults.get("end", 1.0):
            raise ValidationError({"defaults": {"end": ["must be more than start"]}})
        if 1.0 not in scales and "scale" not in defaults:
            raise ValidationError({"defaults": {"scale": [f"is required: 1 is outside of the limits, {scales}"]}})


def controls_field() -> NamedTablesField:
    """Return the field of a model's controls."""
    rule = "must be at most 64 letters, digits, '.', '_' and '-'"
    return NamedTablesField("controls", ControlSchema, _NAME, rule)


def controls_of_tables(tables: Mapping[str, Mapping[str, Any]], resolved: Any) -> dict[str, Control]:
    """Return the controls of loaded tables by name.

    Args:
        tables: what :class:`ControlSchema` loaded.
        resolved: returns the absolute path of a folder beside the models file; a hub id unchanged.
    """
    controls = {}
    for name, table in tables.items():
        values = {key: value for key, value in table.items() if key not in ("defaults", "limits", "source")}
        source = resolved(table["source"])
        values |= {key: float(value) for key, value in table.get("defaults", {}).items()}
        if "scale" in table.get("limits", {}):
            values["scales"] = table["limits"]["scale"]
        if table["type"] is ControlType.IP_ADAPTER:
            if "image_encoder" in table:
                values["image_encoder"] = resolved(table["image_encoder"])
            else:
                values["image_encoder"] = source
                beside = (Path(table.get("subfolder", "")) / "image_encoder").as_posix()
                values.setdefault("image_encoder_subfolder", beside)
        controls[name] = Control(name=name, source=source, **values)
    return controls
