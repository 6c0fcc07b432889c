"""Apply a model's load options (:mod:`jobs.models.load_options`) to a pipeline."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import torch
from diffusers.hooks.group_offloading import apply_group_offloading
from diffusers.models.attention_dispatch import AttentionBackendName, attention_backend, dispatch_attention_fn

from jobs.errors import ModelLoadFailed
from jobs.models.load_options import LoadOptions
from jobs.suggestions import did_you_mean
from workers.pipelines.device_errors import is_device_lost, is_out_of_memory

logger = logging.getLogger(__name__)

#: The components that run in every step, as pipelines name them.
DENOISERS = ("transformer", "transformer_2", "unet", "prior", "decoder")


def denoisers(pipeline: Any) -> dict[str, Any]:
    """Return the modules that run in every step, by name."""
    components = {name: getattr(pipeline, name, None) for name in DENOISERS}
    return {name: module for name, module in components.items() if isinstance(module, torch.nn.Module)}


def apply(pipeline: Any, options: LoadOptions, device: torch.device, dtype: torch.dtype) -> None:
    """Apply the options that last as long as the model.

    These are all but ``quantization`` and ``gguf`` (used while loading), ``offload`` (set for each derived pipeline)
    and ``step_cache`` (put on for each run).

    Raises:
        ModelLoadFailed: the model or an installed package does not support an option; names the option.
    """
    modules = denoisers(pipeline).values()
    for module in modules:
        if options.layerwise_casting:
            storage = getattr(torch, options.layerwise_casting)
            enable("layerwise_casting", module, "enable_layerwise_casting", storage_dtype=storage, compute_dtype=dtype)
        if options.attention:
            # diffusers makes it the back end of all other models as well; the end of the block takes that back.
            with attention_backend(AttentionBackendName.NATIVE):
                enable("attention", module, "set_attention_backend", options.attention)
            _check_attention(options.attention, device, dtype)
        if options.compile:
            # Compile only the repeated blocks: the hooks on the whole module, which stop a run, stay outside.
            enable("compile", module, "compile_repeated_blocks", mode=options.compile)
    if options.vae_tiling:
        enable("vae_tiling", getattr(pipeline, "vae", None), "enable_tiling")
    if options.vae_slicing:
        enable("vae_slicing", getattr(pipeline, "vae", None), "enable_slicing")


def _check_attention(name: str, device: torch.device, dtype: torch.dtype) -> None:
    """Run an attention back end once. Raises: ModelLoadFailed: the device or the number format does not suit it."""
    tokens = torch.zeros(1, 64, 2, 64, device=device, dtype=dtype)
    try:
        dispatch_attention_fn(tokens, tokens, tokens, backend=AttentionBackendName(name))
    except Exception as exc:
        if is_out_of_memory(exc) or is_device_lost(exc):
            raise
        reason = str(exc).partition("\n")[0][:200]
        kind = f"{device.type} with {str(dtype).removeprefix('torch.')}"
        raise ModelLoadFailed(f"option attention: {name} does not run on {kind}: {reason}") from exc


def enable(option: str, module: Any, method: str, *arguments: Any, **named: Any) -> None:
    """Call a method that switches an option on. Raises: ModelLoadFailed: the module does not support the option."""
    call = getattr(module, method, None)
    if call is None:
        raise ModelLoadFailed(f"option {option}: {type(module).__name__} has no {method}")
    try:
        call(*arguments, **named)
    except Exception as exc:
        if is_out_of_memory(exc) or is_device_lost(exc):
            raise
        reason = str(exc).partition("\n")[0][:300]
        raise ModelLoadFailed(f"option {option}: {type(module).__name__} refuses it: {reason}") from exc


def offload(pipeline: Any, options: LoadOptions, device: torch.device) -> bool:
    """Install the hooks that move parts of this pipeline between RAM and device as they are needed.

    Returns:
        Whether the pipeline is offloaded; False on a CPU, where offloading has no benefit.

    Raises:
        ModelLoadFailed: the pipeline does not support it.
    """
    if options.offload == "none" or device.type == "cpu":
        return False
    if options.offload == "group":
        offload_groups(pipeline, options.group_offload, device)
    else:
        method = "enable_model_cpu_offload" if options.offload == "model" else "enable_sequential_cpu_offload"
        enable("offload", pipeline, method, device=device)
    return True


def check_components(pipeline: Any, options: LoadOptions) -> None:
    """Raises: ModelLoadFailed: an option names a component that the pipeline does not have."""
    named = {"group_offload": options.group_offload, "quantize": options.quantize, "gguf": options.gguf}
    parts = modules_of(pipeline)
    for option, names in named.items():
        for name in names:
            if name not in parts:
                hint = did_you_mean(name, parts) or f"; there are {', '.join(parts)}"
                raise ModelLoadFailed(f"option {option}: {type(pipeline).__name__} has no component {name}{hint}")


def modules_of(pipeline: Any) -> dict[str, torch.nn.Module]:
    """Return the components with weights by name."""
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def offload_groups(pipeline: Any, names: Collection[str], device: torch.device) -> None:
    """Offload the layers of these components (none: of all); move the other components to the device.

    Raises:
        ModelLoadFailed: a component cannot be offloaded.
    """
    for name, module in modules_of(pipeline).items():
        if names and name not in names:
            module.to(device)
            continue
        try:
            apply_group_offloading(
                module, onload_device=device, offload_device=torch.device("cpu"), offload_type="leaf_level",
                use_stream=device.type == "cuda",
            )  # fmt: skip
        except (ValueError, RuntimeError) as exc:
            if is_out_of_memory(exc) or is_device_lost(exc):
                raise
            raise ModelLoadFailed(f"option group_offload: {name} refuses it: {exc}") from exc
