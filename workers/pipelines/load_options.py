"""Apply a model's load options (:mod:`jobs.models.load_options`) to a pipeline."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import diffusers
import torch
import transformers

from jobs.errors import ModelLoadFailed
from jobs.models.load_options import QUANTIZATIONS, LoadOptions
from workers.pipelines.device_errors import is_device_lost, is_out_of_memory

logger = logging.getLogger(__name__)

#: The components that run in every step, as pipelines name them.
DENOISERS = ("transformer", "transformer_2", "unet", "prior", "decoder")


def denoisers(pipeline: Any) -> dict[str, Any]:
    """Return the modules that run in every step, by name."""
    components = {name: getattr(pipeline, name, None) for name in DENOISERS}
    return {name: module for name, module in components.items() if isinstance(module, torch.nn.Module)}


def quantization_of(options: LoadOptions, component: str, library: str, dtype: torch.dtype) -> Any:
    """Return the quantisation config for a component's ``from_pretrained``; None for none.

    Raises:
        ModelLoadFailed: a Python package is missing.
    """
    if not options.quantization or component not in (options.quantize or DENOISERS):
        return None
    package = QUANTIZATIONS[options.quantization]
    if not _importable(package):
        raise ModelLoadFailed(
            f"quantization {options.quantization} needs the Python package {package.replace('.', '-')}, "
            "which is not installed"
        )
    classes: Any = diffusers if library == "diffusers" else transformers
    method, _, bits = options.quantization.partition("_")
    if method == "bitsandbytes" and bits == "8bit":
        return classes.BitsAndBytesConfig(load_in_8bit=True)
    if method == "bitsandbytes":
        return classes.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True
        )
    if method == "torchao":
        quantization = importlib.import_module("torchao.quantization")
        name = {"int8": "Int8WeightOnlyConfig", "float8": "Float8WeightOnlyConfig"}[bits]
        return classes.TorchAoConfig(getattr(quantization, name)())
    key = "weights_dtype" if library == "diffusers" else "weights"
    return classes.QuantoConfig(**{key: bits})


def _importable(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent package of a nested name is missing
        return False


def apply(pipeline: Any, options: LoadOptions, dtype: torch.dtype) -> None:
    """Apply the options that last as long as the model.

    These are all but ``quantization`` (used while loading), ``offload`` (set for each derived pipeline) and
    ``step_cache`` (put on for each run).

    Raises:
        ModelLoadFailed: the model or an installed package does not support an option; names the option.
    """
    modules = denoisers(pipeline).values()
    for module in modules:
        if options.layerwise_casting:
            storage = getattr(torch, options.layerwise_casting)
            enable("layerwise_casting", module, "enable_layerwise_casting", storage_dtype=storage, compute_dtype=dtype)
        if options.attention:
            enable("attention", module, "set_attention_backend", options.attention)
        if options.compile:
            # Compile only the repeated blocks: the hooks on the whole module, which stop a run, stay outside.
            enable("compile", module, "compile_repeated_blocks", mode=options.compile)
    if options.vae_tiling:
        enable("vae_tiling", getattr(pipeline, "vae", None), "enable_tiling")
    if options.vae_slicing:
        enable("vae_slicing", getattr(pipeline, "vae", None), "enable_slicing")


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
        enable(
            "offload", pipeline, "enable_group_offload", onload_device=device, offload_device=torch.device("cpu"),
            offload_type="leaf_level", use_stream=True,
        )  # fmt: skip
    else:
        method = "enable_model_cpu_offload" if options.offload == "model" else "enable_sequential_cpu_offload"
        enable("offload", pipeline, method, device=device)
    return True
