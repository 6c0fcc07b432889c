"""Step caches (:mod:`jobs.models.step_caches`): put on a denoiser for one run, and taken off again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import diffusers
from diffusers.hooks.mag_cache import FLUX_MAG_RATIOS
from diffusers.models.transformers.transformer_nucleusmoe_image import NucleusMoEImageTransformerBlock

from jobs.errors import ModelLoadFailed
from workers.pipelines.load_options import denoisers, enable

#: Attention modules of repeated blocks. The default of diffusers leaves out numbered ones (``attn1``).
ATTENTIONS_OF_BLOCKS = r".*blocks\.\d+\.attn\d*"
#: Method → class of its configuration.
_CONFIGURATIONS = {
    "first_block": diffusers.FirstBlockCacheConfig,
    "pyramid_attention": diffusers.PyramidAttentionBroadcastConfig,
    "faster": diffusers.FasterCacheConfig,
    "taylorseer": diffusers.TaylorSeerCacheConfig,
    "mag": diffusers.MagCacheConfig,
    "sea": diffusers.SeaCacheConfig,
    "text_kv": diffusers.TextKVCacheConfig,
}
#: The blocks that keep keys and values of texts. Other models ignore this method without saying so.
_KEEPS_TEXT = NucleusMoEImageTransformerBlock
_RATIOS = {"flux": FLUX_MAG_RATIOS}


@contextmanager
def applied(pipeline: Any, options: Mapping[str, Any], steps: int) -> Iterator[None]:
    """Use a step cache inside the block. It starts empty, and nothing of it stays for the next run.

    Args:
        pipeline: the pipeline.
        options: ``method`` and the options of the method; empty: no cache.
        steps: number of steps of the run, by which the method ``mag`` scales its ratios.

    Raises:
        ModelLoadFailed: the denoiser does not support it.
    """
    with ExitStack() as stack:
        for module in denoisers(pipeline).values() if options else ():
            if options["method"] == "text_kv" and not any(isinstance(part, _KEEPS_TEXT) for part in module.modules()):
                raise ModelLoadFailed(f"option step_cache: {type(module).__name__} has no blocks for text_kv")
            enable("step_cache", module, "enable_cache", _configuration(pipeline, options, steps))
            stack.callback(module.disable_cache)
            stack.callback(module._reset_stateful_cache)
        yield


def check(pipeline: Any, options: Mapping[str, Any]) -> None:
    """Raises: ModelLoadFailed: the model does not support this cache."""
    with applied(pipeline, options, steps=1):
        pass


def _configuration(pipeline: Any, options: Mapping[str, Any], steps: int) -> Any:
    arguments = {
        name: tuple(value) if name.endswith("_range") and isinstance(value, list) else value
        for name, value in options.items()
        if name != "method"
    }
    method = options["method"]
    if method in ("pyramid_attention", "faster"):
        if isinstance(pipeline, diffusers.ModularPipeline):
            raise ModelLoadFailed(f"option step_cache: modular pipelines have no current timestep for {method}")
        arguments["current_timestep_callback"] = lambda: int(pipeline._current_timestep)
    elif method == "taylorseer" and not arguments.get("use_lite_mode"):
        arguments.setdefault("cache_identifiers", [ATTENTIONS_OF_BLOCKS])
    elif method == "mag":
        ratios = arguments["mag_ratios"]
        arguments["num_inference_steps"] = steps
        arguments["mag_ratios"] = _RATIOS[ratios] if isinstance(ratios, str) else ratios
    try:
        return _CONFIGURATIONS[method](**arguments)
    except (TypeError, ValueError) as exc:
        raise ModelLoadFailed(f"option step_cache: {exc}") from exc
