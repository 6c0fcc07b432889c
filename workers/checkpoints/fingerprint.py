"""What two attempts must have in common so that one can go on from a checkpoint of the other."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from jobs.models import loras
from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest
from workers.pipelines import controls, weights

#: Fields of a model that change what its pipeline computes. Its files are compared themselves.
_FIELDS = (
    "loader", "blocks", "workflow", "dtype", "variant", "load", "pipelines", "arguments", "fields", "prior_arguments",
    "scheduler", "output", "prompt_weighting",
)  # fmt: skip
_LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate")


def of_run(spec: ModelSpec, request: GenerationRequest, pipelines: Sequence[Any]) -> dict[str, str]:
    """Return the values to compare, by what they are.

    Args:
        spec: the model.
        request: the request.
        pipelines: those of the run.
    """
    device = pipelines[0]._execution_device  # that of an offloaded pipeline, too
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {
        "model": spec.name,
        "settings of the model": _digest(repr([getattr(spec, name) for name in _FIELDS])),
        "pipeline": " ".join(type(pipeline).__name__ for pipeline in pipelines),
        "set of weights": " ".join(weights.digest_of(pipeline) for pipeline in pipelines),
        "set of LoRAs": _of_loras(spec, request),
        "set of controls": _of_controls(spec, request, pipelines),
        "device": _device(device),
        "number format": " ".join(str(pipeline.dtype) for pipeline in pipelines),
        "request": _digest(json.dumps(request.to_dict(), sort_keys=True)),
        "version of a library": " ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _of_loras(spec: ModelSpec, request: GenerationRequest) -> str:
    names = [str(lora["name"]) for lora in request.loras or ()]
    paths = [loras.path_of(Path(spec.loras), name) if spec.loras else None for name in names]
    return " ".join(weights.of_file(path) if path else "missing" for path in paths)


def _of_controls(spec: ModelSpec, request: GenerationRequest, pipelines: Sequence[Any]) -> str:
    """Return the modes of the controls, and the digests of the files that no component was loaded from."""
    modes = [(control["name"], getattr(spec.controls.get(control["name"]), "mode", None)) for control in
             request.controls or ()]  # fmt: skip
    return " ".join([*map(str, modes), *map(controls.digest_of, pipelines)]).strip()


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    # Sums are rounded in another order with other instructions, or split among other threads.
    return f"{device.type} {platform.machine()} {torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
