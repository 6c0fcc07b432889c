"""How a model is loaded and kept in memory: keys of a table of the models file.

They are checked here, at start and without torch, and applied by :mod:`workers.pipelines.loading`. Whether the
installed packages, the device and the model support an option shows when the model is loaded: if not, loading fails
with ``model_load_failed``, and the message names the option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from marshmallow import ValidationError, validates_schema

from jobs.models.step_caches import StepCacheField
from jobs.models.toml_fields import (
    ChoiceField,
    FlagField,
    ListField,
    SecondsField,
    TableField,
    TableSchema,
    TextField,
    TypedField,
)
from jobs.process.diffusers_names import attention_names
from jobs.settings import Settings
from jobs.suggestions import did_you_mean

#: Quantization method → the Python package that it needs.
QUANTIZATIONS: dict[str, str] = {
    "bitsandbytes_8bit": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "torchao_int8": "torchao",
    "torchao_float8": "torchao",
    "quanto_int8": "optimum.quanto",
    "quanto_float8": "optimum.quanto",
    "sdnq_int8": "sdnq",
    "sdnq_uint4": "sdnq",
    "modelopt_fp8": "modelopt",
    "modelopt_nvfp4": "modelopt",
}
#: Formats in which layer-wise casting stores weights, as torch names them.
CASTINGS = ("float8_e4m3fn", "float8_e5m2")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
OFFLOADS = ("none", "model", "group", "sequential")


class _Attention(TypedField):
    """An attention back end by the name of the installed diffusers; any text if none is installed here."""

    types = (str,)
    default_error_messages = {"invalid": "must be the name of an attention back end", "unknown": "{rule}"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        known = attention_names()
        if known and text not in known:
            rule = f"must be one of {', '.join(known)}{did_you_mean(text, known)}"
            raise self.make_error("unknown", rule=rule)
        return text


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is loaded and kept. Field names are the keys of the models file."""

    #: The model is pinned: it is never evicted from the device's memory.
    keep: bool = False
    #: The model is loaded when its worker starts.
    warm: bool = False
    #: The model is unloaded when no job has used it for this long, in seconds; 0: as ``UNLOAD_AFTER_S`` says.
    unload_after_s: float = 0.0
    #: Method that stores weights in fewer bits, one of :data:`QUANTIZATIONS`; '' for none.
    quantization: str = ""
    #: Components that are quantized; empty: the denoiser.
    quantize: tuple[str, ...] = ()
    #: Format in which the denoiser's weights are stored, one of :data:`CASTINGS`; they are computed with in ``dtype``.
    layerwise_casting: str = ""
    #: Mode of torch.compile for the denoiser's repeated blocks; '' for none.
    compile: str = ""
    #: Attention back end of the denoiser; '' for diffusers' default.
    attention: str = ""
    #: What part of the model is moved to RAM while it is not in use, one of :data:`OFFLOADS`.
    offload: str = "none"
    #: Components that ``offload = "group"`` concerns; the others stay on the device. Empty: all.
    group_offload: tuple[str, ...] = ()
    #: Component → GGUF file that its weights are read from: a path, or ``owner/name/file`` on the hub.
    gguf: Mapping[str, str] = field(default_factory=dict)
    vae_tiling: bool = False
    vae_slicing: bool = False
    #: ``method`` and its options (:mod:`jobs.models.step_caches`); empty for none.
    step_cache: Mapping[str, Any] = field(default_factory=dict)

    def unload_after(self, settings: Settings) -> float:
        """Return the seconds without use after which the model is unloaded; 0: never."""
        stays = self.keep or self.warm
        return 0.0 if stays else self.unload_after_s or settings.memory.unload_after_s


KEYS = frozenset(option.name for option in fields(LoadOptions))


class LoadOptionsSchema(TableSchema):
    """The keys of :class:`LoadOptions` in a model's table."""

    keep = FlagField()
    warm = FlagField()
    unload_after_s = SecondsField()
    vae_tiling = FlagField()
    vae_slicing = FlagField()
    quantization = ChoiceField(QUANTIZATIONS)
    layerwise_casting = ChoiceField(CASTINGS)
    compile = ChoiceField(COMPILE_MODES)
    attention = _Attention()
    offload = ChoiceField(OFFLOADS)
    group_offload = ListField("the pipeline's components, such as transformer")
    gguf = TableField("components and GGUF files", TextField())
    quantize = ListField("the pipeline's components, such as transformer")
    step_cache = StepCacheField()

    @validates_schema
    def _check_load_options(self, table: dict[str, Any], **kwargs: Any) -> None:
        """Check the rules that concern more than one key. Raises: ValidationError."""
        if table.get("quantize") and "quantization" not in table:
            raise ValidationError("needs the key quantization", "quantize")
        for key in ("quantization", "gguf"):
            if key in table and "layerwise_casting" in table:
                raise ValidationError(f"cannot be combined with {key}", "layerwise_casting")
        if twice := sorted({*table.get("gguf", {})} & {*table.get("quantize", ())}):
            raise ValidationError(f"names {twice[0]}, which is in gguf too", "quantize")
        if table.get("group_offload") and table.get("offload") != "group":
            raise ValidationError("needs offload = 'group'", "group_offload")
        if table.get("unload_after_s") and (stays := next((key for key in ("keep", "warm") if table.get(key)), "")):
            raise ValidationError(f"has no effect with {stays}, which keeps the model in memory", "unload_after_s")
        if table.get("offload") in ("group", "sequential") and table.get("keep"):
            rule = f"has no effect with offload = {table['offload']!r}, which keeps the model in RAM"
            raise ValidationError(rule, "keep")
