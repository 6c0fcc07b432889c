"""Pipelines in memory: loaded on first use, kept as long as there is room, one set of weights for all kinds."""

from __future__ import annotations

import gc
import inspect
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import diffusers
import torch

from jobs.errors import ModelLoadFailed
from jobs.models.spec import Kind, ModelSpec
from jobs.settings import Settings
from jobs.slots.residency import Place
from workers.pipelines import device, load_options, memory
from workers.pipelines.loading import Progress, Source
from workers.pipelines.residency import Entry, Residency, prior_of

logger = logging.getLogger(__name__)


class PipelineCache(Residency):
    """The models of this process, on its device and parked in RAM.

    Args:
        settings: budgets and CPU threads.
        pinned: as in :class:`~workers.pipelines.residency.Residency`.
        changed: likewise.
    """

    def __init__(
        self,
        settings: Settings,
        pinned: Callable[[], Collection[str]] = tuple,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(pinned, changed)
        self._settings = settings
        self.device, self.device_name = device.select(settings.process.cpu_threads)
        #: Times that weights were read from disk.
        self.loads = 0
        #: Times that a run found too little memory.
        self.ooms = 0

    def get(self, spec: ModelSpec, kind: Kind, progress: Progress = lambda done, total: None) -> Any:
        """The pipeline for this kind of job, ready on the device.

        Args:
            spec: the model.
            kind: the kind of job.
            progress: told bytes loaded and bytes in all while weights are read; what it raises stops the loading.

        Raises:
            ModelLoadFailed: the weights, classes or options cannot be loaded.
            OutOfMemory: pinned models leave no room. torch.OutOfMemoryError: the device has none.
        """
        entry = self.touch(spec.name) or self._load(spec, progress)
        if entry.place is Place.PARKED:
            self.bring_back(entry)
        pipeline = self._of_kind(entry, spec, kind)
        if entry.place is Place.OFFLOADED and entry.hooked is not pipeline and spec.load.offload != "group":
            # The hooks that move components belong to one pipeline, though the components are shared.
            load_options.offload(pipeline, spec.load, self.device)
            entry.hooked = pipeline
        return pipeline

    def _of_kind(self, entry: Entry, spec: ModelSpec, kind: Kind) -> Any:
        base = entry.pipeline
        class_name = spec.pipelines.get(kind)
        if class_name is None or type(base).__name__ == class_name:
            # A combined pipeline is taken apart, so that prior and decoder are run and watched one after the other.
            return getattr(base, "decoder_pipe", base)
        if class_name not in entry.derived:
            pipeline_class = _class_named(class_name)
            # The components are shared, so this costs no memory.
            components = {name: part for name, part in base.components.items() if name in _parts(pipeline_class)}
            derived = pipeline_class(**{**components, **_extra(pipeline_class, base)})
            derived.set_progress_bar_config(disable=True)
            entry.derived[class_name] = derived
        return entry.derived[class_name]

    def prior(self, spec: ModelSpec, progress: Progress = lambda done, total: None) -> Any:
        """The pipeline whose embeddings the model takes, from a folder of its own or part of the model's; or None.

        Raises:
            ModelLoadFailed: it cannot be loaded.
        """
        if spec.prior:
            own = replace(
                spec,
                name=prior_of(spec.name),
                source=spec.prior,
                revision=spec.prior_revision,
                prior=None,
                pipelines={},
            )
            return self.get(own, spec.kinds[0], progress)
        entry = self.touch(spec.name)
        return getattr(entry.pipeline, "prior_pipe", None) if entry else None

    def _load(self, spec: ModelSpec, progress: Progress) -> Entry:
        begun = time.monotonic()
        progress(0, 0)
        source = Source(spec, self.device)
        self.make_room(source.device_bytes, spec.name)
        try:
            pipeline = source.load(progress)
        except BaseException:
            # Stopped or failed half-way: what was loaded goes with the frames of the exception.
            self.free()
            raise
        offloaded = spec.load.offload != "none" and self.device.type != "cpu"
        place = Place.OFFLOADED if offloaded else Place.DEVICE
        entry = Entry(spec.name, pipeline, memory.weights_bytes(pipeline), place, hooked=pipeline)
        self.loads += 1
        load_s = round(time.monotonic() - begun, 2)
        logger.info("model loaded", extra={"model": spec.name, "load_s": load_s, "bytes": entry.bytes})
        self.add(entry)
        return entry

    def alone(self, model: str) -> None:
        """Leave the device to one model, which found too little memory beside the others."""
        self.ooms += 1
        # On a CPU parked models lie in the memory that is missing.
        self.leave_alone(model, park=self.device.type != "cpu")

    # ---- what the device can do

    def budget_bytes(self) -> int:
        return memory.device_budget_bytes(self.device, self._settings)

    def parking_room_bytes(self, parked_bytes: int) -> int:
        return memory.parking_room_bytes(self.device, self._settings, parked_bytes)

    def move(self, entry: Entry, place: Place) -> None:
        entry.pipeline.to(self.device if place is Place.DEVICE else "cpu", silence_dtype_warnings=True)

    def free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


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
