"""LoRAs of one job: loaded once, switched on for it, and off again before the next."""

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

#: LoRAs that stay loaded beside a model; when one more is wanted, all are dropped first.
MAX_LOADED = 8


@contextmanager
def applied(pipeline: Any, spec: ModelSpec, wanted: Sequence[Mapping[str, Any]]) -> Iterator[None]:
    """Use these LoRAs (``name``, ``weight``) within the block. Without them the model computes as if it had none.

    Raises:
        ExecutionError: a file is gone or does not fit the model.
    """
    if not wanted:
        yield
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise ExecutionError(f"{type(pipeline).__name__} takes no LoRAs")
    adapters = _load(pipeline, {str(lora["name"]): _path(spec, str(lora["name"])) for lora in wanted})
    pipeline.enable_lora()
    pipeline.set_adapters(adapters, [float(lora["weight"]) for lora in wanted])
    try:
        yield
    finally:
        pipeline.disable_lora()  # the base layers alone: bit for bit what they were


def _path(spec: ModelSpec, name: str) -> Path:
    path = loras.path_of(Path(spec.loras), name) if spec.loras else None
    if path is None:
        raise ExecutionError(f"the LoRA {name} is not there any more")
    return path


def _load(pipeline: Any, paths: Mapping[str, Path]) -> list[str]:
    """The adapters' names in the pipeline. The components know what is loaded, so derived pipelines share it."""
    wanted = {_adapter_name(path): name for name, path in paths.items()}
    loaded = _loaded(pipeline)
    if len(loaded | wanted.keys()) > MAX_LOADED:
        pipeline.unload_lora_weights()
        loaded = set()
    for adapter, name in wanted.items():
        if adapter in loaded:
            continue
        path = paths[name]
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several LoRAs are what we want
                pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=adapter)
            fits = adapter in _loaded(pipeline)
        except Exception as exc:  # a file of another model fails in as many ways as there are layouts
            pipeline.unload_lora_weights()  # it may be loaded in part
            raise ExecutionError(f"the LoRA {name} does not fit the model ({type(exc).__name__})") from exc
        if not fits:
            pipeline.unload_lora_weights()
            raise ExecutionError(f"the LoRA {name} does not fit the model (it names none of its layers)")
    return list(wanted)


def _loaded(pipeline: Any) -> set[str]:
    return {name for names in pipeline.get_list_adapters().values() for name in names}


def _adapter_name(path: Path) -> str:
    """Another one for a file that was replaced."""
    facts = path.stat()
    return "lora_" + hashlib.sha256(f"{path} {facts.st_mtime_ns} {facts.st_size}".encode()).hexdigest()[:16]
