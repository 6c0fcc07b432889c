"""Pipelines in memory: loaded on first use, kept for the life of the process."""

from __future__ import annotations

import inspect
import logging
import time
from dataclasses import replace
from typing import Any

import diffusers
import torch

from jobs.errors import ModelLoadFailed
from jobs.models import Kind, ModelSpec
from jobs.settings import Settings
from workers import device

logger = logging.getLogger(__name__)


class PipelineCache:
    """One loaded pipeline per model, and further pipeline classes over the same weights per kind.

    Used by one thread: a slot runs one job at a time.
    """

    def __init__(self, settings: Settings) -> None:
        self.device, self.device_name = device.select(settings.cpu_threads)
        self._loaded: dict[str, Any] = {}
        self._derived: dict[tuple[str, Kind], Any] = {}
        #: Times that weights were read from disk.
        self.loads = 0

    @property
    def resident(self) -> list[str]:
        return list(self._loaded)

    def free(self) -> None:
        """Give unused device memory back."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def get(self, spec: ModelSpec, kind: Kind) -> Any:
        """The pipeline for this kind of job.

        Raises:
            ModelLoadFailed: the weights or classes cannot be loaded.
        """
        base = self._loaded.get(spec.name) or self._load(spec)
        class_name = spec.pipelines.get(kind)
        if class_name is None or type(base).__name__ == class_name:
            # A combined pipeline is taken apart, so that prior and decoder are run and watched one after the other.
            return getattr(base, "decoder_pipe", base)
        if (spec.name, kind) not in self._derived:
            pipeline_class = _class_named(class_name)
            # The components are shared, so this costs no memory.
            components = {name: part for name, part in base.components.items() if name in _parts(pipeline_class)}
            derived = pipeline_class(**{**components, **_extra(pipeline_class, base)})
            derived.set_progress_bar_config(disable=True)
            self._derived[spec.name, kind] = derived
        return self._derived[spec.name, kind]

    def prior(self, spec: ModelSpec) -> Any:
        """The pipeline whose embeddings the model takes, from a folder of its own or part of the model's; or None.

        Raises:
            ModelLoadFailed: it cannot be loaded.
        """
        if spec.prior:
            own = replace(
                spec,
                name=f"{spec.name}/prior",
                source=spec.prior,
                revision=spec.prior_revision,
                prior=None,
                pipelines={},
            )
            return self.get(own, spec.kinds[0])
        return getattr(self._loaded.get(spec.name), "prior_pipe", None)

    def _load(self, spec: ModelSpec) -> Any:
        begun = time.monotonic()
        try:
            pipeline = diffusers.DiffusionPipeline.from_pretrained(
                spec.source,
                revision=spec.revision,
                variant=spec.variant,
                dtype=device.dtype_of(spec, self.device),
                use_safetensors=True,
            )
            pipeline.to(self.device)
        except torch.OutOfMemoryError:
            raise
        except Exception as exc:
            logger.exception("model not loaded", extra={"model": spec.name})
            raise ModelLoadFailed(f"model {spec.name} could not be loaded: {type(exc).__name__}") from exc
        pipeline.set_progress_bar_config(disable=True)
        self._loaded[spec.name] = pipeline
        self.loads += 1
        logger.info("model loaded", extra={"model": spec.name, "load_s": round(time.monotonic() - begun, 2)})
        return pipeline


def _class_named(name: str) -> Any:
    try:
        return getattr(diffusers, name)
    except AttributeError:
        raise ModelLoadFailed(f"diffusers {diffusers.__version__} has no pipeline class {name}") from None


def _parts(pipeline_class: Any) -> set[str]:
    """Names of the modules that a pipeline class is made of."""
    return set(inspect.signature(pipeline_class.__init__).parameters)


def _extra(pipeline_class: Any, base: Any) -> dict[str, Any]:
    """Options (not modules) that the other class also takes, such as ``requires_safety_checker``."""
    expected = pipeline_class.__init__.__code__.co_varnames
    return {name: value for name, value in base.config.items() if name in expected and isinstance(value, bool)}
