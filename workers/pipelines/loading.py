"""Load a model from disk, component by component: reports progress and can be stopped between two components."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

from jobs.errors import FramemillError, ModelLoadFailed
from jobs.models.spec import ModelSpec
from workers.pipelines import classes, load_options, memory, modular, quantization, step_caches, weights
from workers.pipelines import device as devices
from workers.pipelines.device_errors import is_device_lost, is_out_of_memory
from workers.prompts import embeddings

logger = logging.getLogger(__name__)

#: Called with the bytes loaded and the total before each component; may raise to stop.
OnProgress = Callable[[int, int], None]


def ignore_progress(done_bytes: int, total_bytes: int) -> None:
    """Do nothing."""


class ModelFolder:
    """The folder of a model.

    Raises:
        ModelLoadFailed: the folder does not exist, or the model cannot be downloaded.
    """

    def __init__(self, spec: ModelSpec, device: torch.device) -> None:
        self._spec, self._device = spec, device
        self.dtype = devices.dtype_of(spec, device)
        try:
            self.folder = _folder(spec)
            index = json.loads(_index(self.folder, spec).read_text(encoding="utf-8"))
            self._class_name = index.get("_class_name")
            if spec.loader == "modular":
                self._modular = modular.empty(spec, self.folder)
                index = {name: index[name] for name in self._modular.pretrained_component_names if name in index}
        except Exception as exc:
            raise _failure(spec, exc) from exc
        #: Component → (library, bytes in memory), for components whose weights can be loaded separately.
        self.components: dict[str, tuple[str, int]] = {}
        #: Component → its class and GGUF file.
        self._gguf: dict[str, tuple[str, Path]] = {}
        for name, entry in index.items():
            if isinstance(entry, list) and entry[0] in ("diffusers", "transformers"):
                if source := spec.load.gguf.get(name):
                    self._gguf[name] = (entry[1], path := self._gguf_file(source))
                    self.components[name] = (entry[0], path.stat().st_size)
                elif size := memory.file_bytes(self.folder / name, self.dtype, spec.variant):
                    self.components[name] = (entry[0], size)

    def _gguf_file(self, source: str) -> Path:
        try:
            return quantization.gguf_file(source)
        except Exception as exc:
            raise _failure(self._spec, exc) from exc

    @property
    def bytes(self) -> int:
        """Estimated size of the whole model in memory."""
        return sum(size for _, size in self.components.values())

    @property
    def device_bytes(self) -> int:
        """Estimated size on the device."""
        offload = self._spec.load.offload if self._device.type != "cpu" else "none"
        if offload == "none":
            return self.bytes
        if offload == "group" and (names := self._spec.load.group_offload):
            return sum(size for name, (_, size) in self.components.items() if name not in names)
        return max((size for _, size in self.components.values()), default=0) if offload == "model" else 0

    def load(self, progress: OnProgress) -> Any:
        """Load the pipeline with its load options onto the device (or offloaded).

        Raises:
            ModelLoadFailed: weights, classes or options are wrong.
            torch.OutOfMemoryError, and whatever ``progress`` raises.
        """
        spec, total = self._spec, self.bytes
        try:
            parts: dict[str, Any] = {}
            done = 0
            for name, (library, size) in self.components.items():
                progress(done, total)
                parts[name] = self._component(name, library)
                done += size
            progress(done, total)
            pipeline = self._assembled(parts)
            load_options.check_components(pipeline, spec.load)
            load_options.apply(pipeline, spec.load, self._device, self.dtype)
            for quality in spec.qualities:
                step_caches.check(pipeline, spec.step_cache(quality))
            if spec.prompt_weighting:
                embeddings.check(pipeline)
            if not load_options.offload(pipeline, spec.load, self._device):
                pipeline.to(self._device, silence_dtype_warnings=True)
            weights.note(pipeline, self.folder, [path for _, path in self._gguf.values()])
            progress(total, total)
        except Exception as exc:
            raise _failure(spec, exc) from exc
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _assembled(self, parts: dict[str, Any]) -> Any:
        if self._spec.loader == "modular":
            return modular.completed(self._modular, self.folder, parts, self.dtype)
        # DiffusionPipeline itself would read those parts from disk once more that are optional arguments of the class,
        # such as the transformer of Wan.
        name = self._spec.pipeline or self._class_name
        pipeline_class = classes.named(name) if isinstance(name, str) else diffusers.DiffusionPipeline
        return pipeline_class.from_pretrained(
            self.folder, variant=self._spec.variant, dtype=self.dtype, use_safetensors=True, **parts
        )

    def _component(self, name: str, library: str) -> Any:
        if name in self._gguf:
            class_name, path = self._gguf[name]
            return quantization.read_gguf(path, class_name, self.folder, name, self.dtype)
        quantization.check_stored(self.folder, name, self._device)
        options: dict[str, Any] = {"variant": self._spec.variant, "dtype": self.dtype, "use_safetensors": True}
        config = quantization.of(self._spec.load, name, library, self.dtype)
        if config:
            options["quantization_config"] = config
        try:
            part = diffusers.AutoModel.from_pretrained(str(self.folder), subfolder=name, **options)
        except Exception as exc:
            if not config or is_out_of_memory(exc) or is_device_lost(exc):
                raise
            reason = str(exc).partition("\n")[0][:200]
            raise ModelLoadFailed(f"option quantization: {self._spec.load.quantization}: {reason}") from exc
        # Move each component at once, so that RAM never holds more than one on its way to a GPU.
        early = self._spec.load.offload == "none" and not config and not self._spec.load.layerwise_casting
        return part.to(self._device) if early else part


def _folder(spec: ModelSpec) -> Path:
    if Path(spec.source).is_dir():
        return Path(spec.source)
    if spec.loader == "modular":
        return modular.download(spec)
    download = diffusers.DiffusionPipeline.download
    return Path(download(spec.source, revision=spec.revision, variant=spec.variant, use_safetensors=True))


def _index(folder: Path, spec: ModelSpec) -> Path:
    """Return the file that lists the components. Modular pipelines may use the folder of another pipeline."""
    own = folder / modular.INDEX
    return own if spec.loader == "modular" and own.is_file() else folder / "model_index.json"


def _failure(spec: ModelSpec, exc: Exception) -> FramemillError:
    """Return the error to raise for an exception of the libraries. Raises it unchanged if the device caused it."""
    if isinstance(exc, FramemillError):
        return exc
    if is_out_of_memory(exc) or is_device_lost(exc):
        raise exc
    logger.error("model not loaded", exc_info=exc, extra={"model": spec.name})
    return ModelLoadFailed(f"model {spec.name} could not be loaded: {type(exc).__name__}")
