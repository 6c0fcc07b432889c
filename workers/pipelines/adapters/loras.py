"""LoRAs of a job: loaded once, enabled for the job and disabled after it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobs.errors import ExecutionError
from jobs.models import loras
from jobs.models.spec import ModelSpec

#: Most LoRAs that stay loaded beside a model; if a job needs one more, all are unloaded first.
MAX_LOADED = 8


@contextmanager
def applied(pipeline: Any, spec: ModelSpec, requested: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Enable the requested LoRAs inside the block. If there are none, the model is unchanged.

    Args:
        pipeline: the pipeline.
        spec: its model.
        requested: ``name`` and ``weight`` of each, and ``text_encoder_weight`` where that differs.

    Raises:
        ExecutionError: a file is missing or does not fit the model.
    """
    if not requested:
        yield
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise ExecutionError(f"{type(pipeline).__name__} takes no LoRAs")
    adapters = _load(pipeline, {str(lora["name"]): _path(spec, str(lora["name"])) for lora in requested})
    pipeline.enable_lora()
    weights = [_weights(pipeline, adapter, lora) for adapter, lora in zip(adapters, requested, strict=True)]
    pipeline.set_adapters(adapters, weights)
    try:
        yield
    finally:
        pipeline.disable_lora()  # the base layers are again what they were, bit by bit


def _weights(pipeline: Any, adapter: str, lora: Mapping[str, Any]) -> float | dict[str, float]:
    """Return the weight of a LoRA, or its weight in each component that it changes."""
    weight, text_weight = lora["weight"], lora.get("text_encoder_weight")
    if text_weight is None:
        return float(weight)
    parts = [part for part, names in pipeline.get_list_adapters().items() if adapter in names]
    return {part: float(text_weight if part.startswith("text_encoder") else weight) for part in parts}


def _path(spec: ModelSpec, name: str) -> Path:
    path = loras.path_of(Path(spec.loras), name) if spec.loras else None
    if path is None:
        raise ExecutionError(f"the LoRA {name} does not exist any more")
    return path


def _load(pipeline: Any, paths: Mapping[str, Path]) -> list[str]:
    """Return the names of the adapters. Derived pipelines share them, because adapters belong to the components."""
    adapters = {_adapter_name(path): name for name, path in paths.items()}
    loaded = _loaded(pipeline)
    if len(loaded | adapters.keys()) > MAX_LOADED:
        pipeline.unload_lora_weights()
        loaded = set()
    for adapter, name in adapters.items():
        if adapter in loaded:
            continue
        path = paths[name]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several LoRAs are intended
                pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=adapter)
            fits = adapter in _loaded(pipeline)
        except Exception as exc:  # a LoRA of another model fails in many ways
            pipeline.unload_lora_weights()  # it may be partly loaded
            raise ExecutionError(f"the LoRA {name} does not fit the model ({type(exc).__name__})") from exc
        if not fits:
            pipeline.unload_lora_weights()
            raise ExecutionError(f"the LoRA {name} does not fit the model (it names none of its layers)")
    return list(adapters)


def _loaded(pipeline: Any) -> set[str]:
    return {name for names in pipeline.get_list_adapters().values() for name in names}


def _adapter_name(path: Path) -> str:
    """Return a name that changes when the file is replaced."""
    status = path.stat()
    return "lora_" + hashlib.sha256(f"{path} {status.st_mtime_ns} {status.st_size}".encode()).hexdigest()[:16]
