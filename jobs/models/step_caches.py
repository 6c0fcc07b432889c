"""Step caches: how steps of a run reuse what earlier ones computed, as tables of the models file."""

from __future__ import annotations

from typing import Any

from jobs.models.toml_fields import (
    FlagField,
    IntegerField,
    ListField,
    NumberField,
    StringField,
    TableSchema,
    TypedField,
)

#: Models whose ratios for the method ``mag`` diffusers has.
KNOWN_RATIOS = ("flux",)


class _TimestepRange(TypedField):
    """Two timesteps, lowest and highest."""

    types = (list,)
    default_error_messages = {"invalid": "must be two timesteps, [lowest, highest]"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        pair = super()._deserialize(value, attr, data, **kwargs)
        if len(pair) != 2 or not all(isinstance(item, int) and not isinstance(item, bool) for item in pair):
            raise self.make_error("invalid")
        return pair


class FirstBlock(TableSchema):
    threshold = NumberField()


class PyramidAttention(TableSchema):
    spatial_attention_block_skip_range = IntegerField()
    temporal_attention_block_skip_range = IntegerField()
    cross_attention_block_skip_range = IntegerField()
    spatial_attention_timestep_skip_range = _TimestepRange()
    temporal_attention_timestep_skip_range = _TimestepRange()
    cross_attention_timestep_skip_range = _TimestepRange()


class FasterCache(TableSchema):
    spatial_attention_block_skip_range = IntegerField()
    temporal_attention_block_skip_range = IntegerField()
    spatial_attention_timestep_skip_range = _TimestepRange()
    unconditional_batch_skip_range = IntegerField()
    unconditional_batch_timestep_skip_range = _TimestepRange()
    tensor_format = StringField()


class TaylorSeer(TableSchema):
    cache_interval = IntegerField()
    disable_cache_before_step = IntegerField()
    disable_cache_after_step = IntegerField()
    max_order = IntegerField()
    cache_identifiers = ListField("patterns of module names", lambda _: True)
    use_lite_mode = FlagField()


class _Ratios(TypedField):
    """Numbers that belong to a model, or the name of a model whose numbers diffusers has."""

    types = (list, str)
    default_error_messages = {"invalid": f"must be a list of numbers, or one of {', '.join(KNOWN_RATIOS)}"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        value = super()._deserialize(value, attr, data, **kwargs)
        is_known = value in KNOWN_RATIOS if isinstance(value, str) else bool(value)
        if not is_known or not (isinstance(value, str) or all(type(item) in (int, float) for item in value)):
            raise self.make_error("invalid")
        return value


class Mag(TableSchema):
    threshold = NumberField()
    max_skip_steps = IntegerField()
    retention_ratio = NumberField()
    mag_ratios = _Ratios(required=True)


class Sea(TableSchema):
    threshold = NumberField()
    residual_order = IntegerField()
    retention_steps = IntegerField()
    cache_end_steps = IntegerField()
    max_consecutive_cached = IntegerField()
    power_exp = NumberField()


class TextKeysAndValues(TableSchema):
    """It has no options: the outputs are those without it."""


#: Step cache method → its options, by the names of diffusers' configuration classes.
STEP_CACHES: dict[str, TableSchema] = {
    "first_block": FirstBlock(),
    "pyramid_attention": PyramidAttention(),
    "faster": FasterCache(),
    "taylorseer": TaylorSeer(),
    "mag": Mag(),
    "sea": Sea(),
    "text_kv": TextKeysAndValues(),
}


class StepCacheField(TypedField):
    """A table with ``method`` and the options of this method; an empty one stands for no cache."""

    types = (dict,)
    default_error_messages = {"invalid": f"must be a table whose method is one of {', '.join(STEP_CACHES)}"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        options = dict(super()._deserialize(value, attr, data, **kwargs))
        if not options:
            return {}
        method = options.pop("method", None)
        if not isinstance(method, str) or method not in STEP_CACHES:
            raise self.make_error("invalid")
        return {"method": method, **STEP_CACHES[method].load(options)}
