"""How a model is loaded and held: keys of a table of the models file, checked here and applied by
``workers.pipelines.loading``.

Names are checked at start, without torch. Whether the installed packages, the device and the model can do it is
known when it is loaded; what they cannot fails then with ``model_load_failed``, which names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

#: Method → the Python package it needs.
QUANTIZATIONS: dict[str, str] = {
    "bitsandbytes_8bit": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes",
    "torchao_int8": "torchao",
    "torchao_float8": "torchao",
    "quanto_int8": "optimum.quanto",
    "quanto_float8": "optimum.quanto",
}
#: torch's names of the formats in which layer-wise casting stores weights.
CASTINGS = ("float8_e4m3fn", "float8_e5m2")
COMPILE_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
OFFLOADS = ("none", "model", "group", "sequential")
#: diffusers' names of attention back ends, without those that it marks as internal.
ATTENTIONS = (
    "native", "_native_cudnn", "_native_efficient", "_native_flash", "_native_math", "flex", "flash", "flash_hub",
    "_flash_3", "_flash_3_hub", "flash_4_hub", "sage", "sage_hub", "xformers",
)  # fmt: skip

_RANGE = "two timesteps, [lowest, highest]"
_PATTERNS = "a list of patterns of module names"
#: Method → its options, with what each must be.
STEP_CACHES: dict[str, dict[str, str]] = {
    "first_block": {"threshold": "a number"},
    "pyramid_attention": {
        "spatial_attention_block_skip_range": "a whole number",
        "temporal_attention_block_skip_range": "a whole number",
        "cross_attention_block_skip_range": "a whole number",
        "spatial_attention_timestep_skip_range": _RANGE,
        "temporal_attention_timestep_skip_range": _RANGE,
        "cross_attention_timestep_skip_range": _RANGE,
    },
    "faster": {
        "spatial_attention_block_skip_range": "a whole number",
        "temporal_attention_block_skip_range": "a whole number",
        "spatial_attention_timestep_skip_range": _RANGE,
        "unconditional_batch_skip_range": "a whole number",
        "unconditional_batch_timestep_skip_range": _RANGE,
        "tensor_format": "text",
    },
    "taylorseer": {
        "cache_interval": "a whole number",
        "disable_cache_before_step": "a whole number",
        "disable_cache_after_step": "a whole number",
        "max_order": "a whole number",
        "cache_identifiers": _PATTERNS,
        "use_lite_mode": "true or false",
    },
}


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Field names are the keys of the models file."""

    #: Never put out of memory to make room.
    keep: bool = False
    #: Loaded when the worker starts.
    warm: bool = False
    #: Weights in fewer bits, of :data:`QUANTIZATIONS`; '' for none.
    quantization: str = ""
    #: Components it applies to; empty: the denoiser.
    quantize: tuple[str, ...] = ()
    #: Format in which the denoiser's weights lie in memory, of :data:`CASTINGS`; they are computed with in ``dtype``.
    layerwise_casting: str = ""
    #: Mode of torch.compile for the denoiser's repeated blocks; '' for none.
    compile: str = ""
    #: Attention back end of the denoiser; '' for diffusers' choice.
    attention: str = ""
    #: What of the model lies in RAM while it is not computed with.
    offload: str = "none"
    vae_tiling: bool = False
    vae_slicing: bool = False
    #: ``method`` (of :data:`STEP_CACHES`) and its options; empty for none.
    step_cache: Mapping[str, Any] = field(default_factory=dict)


KEYS = frozenset(option.name for option in fields(LoadOptions))

Bad = Callable[[str, str], Exception]


def parse(table: Mapping[str, Any], bad: Bad) -> LoadOptions:
    """Read and check the keys of one model's table that belong here.

    Raises:
        Exception: made by ``bad(key, rule)``.
    """
    for key in ("keep", "warm", "vae_tiling", "vae_slicing"):
        if not isinstance(table.get(key, False), bool):
            raise bad(key, "must be true or false")
    for key, allowed in (
        ("quantization", tuple(QUANTIZATIONS)), ("layerwise_casting", CASTINGS), ("compile", COMPILE_MODES),
        ("attention", ATTENTIONS), ("offload", OFFLOADS),
    ):  # fmt: skip
        if key in table and table[key] not in allowed:
            raise bad(key, f"must be one of {', '.join(allowed)}")
    quantize = table.get("quantize", [])
    if not (isinstance(quantize, list) and all(isinstance(name, str) and name for name in quantize)):
        raise bad("quantize", "must be a list of the pipeline's components, such as transformer")
    if quantize and "quantization" not in table:
        raise bad("quantize", "needs the key quantization")
    if "quantization" in table and "layerwise_casting" in table:
        raise bad("layerwise_casting", "cannot be combined with quantization")
    if table.get("offload") in ("group", "sequential") and table.get("keep"):
        raise bad("keep", f"has no effect with offload = {table['offload']!r}: such a model lies in RAM")
    values = {key: table[key] for key in KEYS & table.keys()}
    if "quantize" in values:
        values["quantize"] = tuple(quantize)
    if "step_cache" in table:
        values["step_cache"] = _step_cache(table["step_cache"], bad)
    return LoadOptions(**values)


def _step_cache(value: Any, bad: Bad) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.get("method") not in STEP_CACHES:
        raise bad("step_cache", f"must be a table with method one of {', '.join(STEP_CACHES)}")
    known = STEP_CACHES[value["method"]]
    for name, given in value.items():
        if name == "method":
            continue
        if name not in known:
            raise bad(f"step_cache.{name}", f"unknown option; known: {', '.join(known)}")
        if not _fits(given, known[name]):
            raise bad(f"step_cache.{name}", f"must be {known[name]}")
    return value


def _fits(value: Any, rule: str) -> bool:
    if rule == "text":
        return isinstance(value, str)
    if rule == "true or false":
        return isinstance(value, bool)
    if rule == _PATTERNS:
        return isinstance(value, list) and all(isinstance(item, str) for item in value)
    if rule == _RANGE:
        return isinstance(value, list) and len(value) == 2 and all(_fits(item, "a whole number") for item in value)
    if isinstance(value, bool):
        return False
    return isinstance(value, int if rule == "a whole number" else int | float)
