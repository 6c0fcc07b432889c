"""Weights in fewer bits: quantised while they are loaded, read from GGUF files, or stored so in the model's folder."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from huggingface_hub import hf_hub_download

from jobs.errors import ModelLoadFailed
from jobs.models.load_options import QUANTIZATIONS, LoadOptions
from workers.pipelines.load_options import DENOISERS

#: Method by which a folder's weights are stored (``quant_method`` of its configuration) → the package that reads them.
STORED: dict[str, str] = {
    "bitsandbytes": "bitsandbytes", "torchao": "torchao", "quanto": "optimum.quanto", "sdnq": "sdnq",
    "modelopt": "modelopt", "nunchaku_lite": "kernels", "auto-round": "auto_round",
}  # fmt: skip
#: Methods whose weights only NVIDIA's devices compute with.
_CUDA_ONLY = ("nunchaku_lite",)


def of(options: LoadOptions, component: str, library: str, dtype: torch.dtype) -> Any:
    """Return the quantisation config for a component's ``from_pretrained``; None for none.

    Raises:
        ModelLoadFailed: a Python package is missing.
    """
    if not options.quantization or component not in (options.quantize or DENOISERS):
        return None
    _need(QUANTIZATIONS[options.quantization], f"quantization {options.quantization}")
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
    if method == "sdnq":
        return diffusers.SDNQConfig(weights_dtype=bits)
    if method == "modelopt":
        if library != "diffusers":
            raise ModelLoadFailed(f"quantization {options.quantization} applies to components of diffusers only")
        return diffusers.NVIDIAModelOptConfig(quant_type=bits.upper())
    key = "weights_dtype" if library == "diffusers" else "weights"
    return classes.QuantoConfig(**{key: bits})


def check_stored(folder: Path, component: str, device: torch.device) -> None:
    """Check that a component's weights can be read as they are stored.

    Raises:
        ModelLoadFailed: their format needs a package or a device that is missing.
    """
    path = folder / component / "config.json"
    stored = json.loads(path.read_text(encoding="utf-8")).get("quantization_config") if path.is_file() else None
    method = stored.get("quant_method") if isinstance(stored, dict) else None
    if method is None:
        return
    what = f"{component} is stored with {method}, which"
    if package := STORED.get(method):
        _need(package, what)
    if method in _CUDA_ONLY and device.type != "cuda":
        raise ModelLoadFailed(f"{what} needs an NVIDIA GPU; this device is {device.type}")


def gguf_file(source: str) -> Path:
    """Return a GGUF file: a path, or one of a repository on the hub, downloaded if it is not in the cache.

    Raises:
        ModelLoadFailed: the package that reads it is missing.
    """
    _need("gguf", "option gguf")
    if Path(source).is_absolute():
        return Path(source)
    owner, name, file = source.split("/", 2)
    return Path(hf_hub_download(f"{owner}/{name}", file))


def read_gguf(path: Path, class_name: str, folder: Path, component: str, dtype: torch.dtype) -> Any:
    """Return a component whose weights are in a GGUF file, and whose configuration is in the model's folder.

    Raises:
        ModelLoadFailed: diffusers reads no such file for this class.
    """
    component_class = getattr(diffusers, class_name)
    if not hasattr(component_class, "from_single_file"):
        raise ModelLoadFailed(f"option gguf: diffusers reads no single files of {class_name}")
    return component_class.from_single_file(
        str(path), config=str(folder), subfolder=component, dtype=dtype,
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
    )  # fmt: skip


def _need(package: str, what: str) -> None:
    """Raises: ModelLoadFailed: the Python package is missing."""
    try:
        is_installed = importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent package of a nested name is missing
        is_installed = False
    if not is_installed:
        raise ModelLoadFailed(f"{what} needs the Python package {package.replace('.', '-')}, which is not installed")
