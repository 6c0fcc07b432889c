"""Pipelines in memory: loaded on first use and kept while there is room; all kinds of a model share its weights."""

from __future__ import annotations

import gc
import inspect
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from jobs.errors import ModelLoadFailed
from jobs.models.spec import Kind, ModelSpec
from jobs.settings import Settings
from jobs.slots.residency import Place
from workers.pipelines import classes, device, load_options, memory
from workers.pipelines.controls import ControlPart, parts_of, pipeline_with
from workers.pipelines.loading import ModelFolder, OnProgress, ignore_progress
from workers.pipelines.residency import Entry, Residency, prior_entry_of

logger = logging.getLogger(__name__)


class PipelineCache(Residency):
    """The models of this process, on its device and parked in RAM.

    Args:
        settings: budgets and CPU threads.
        pinned: as in :class:`~workers.pipelines.residency.Residency`.
        changed: as in :class:`~workers.pipelines.residency.Residency`.
        loaded: called with the name of a model that was read from disk, and the seconds that it took.
    """

    def __init__(
        self,
        settings: Settings,
        pinned: Callable[[], Collection[str]] = tuple,
        changed: Callable[[], None] = lambda: None,
        loaded: Callable[[str, float], None] = lambda model, seconds: None,
    ) -> None:
        super().__init__(pinned, changed)
        self._settings, self._loaded = settings, loaded
        self.device, self.device_name = device.select(settings.process.cpu_threads)
        #: Number of models whose weights were read from disk.
        self.loads = 0
        #: Number of runs that found too little memory.
        self.ooms = 0

    def get(
        self, spec: ModelSpec, kind: Kind, progress: OnProgress = ignore_progress, controls: Sequence[str] = ()
    ) -> Any:  # fmt: skip
        """Return the pipeline for this kind of job, ready on the device.

        Args:
            spec: the model.
            kind: the kind of job.
            progress: called with the bytes loaded and the total while weights are read; may raise to stop loading.
            controls: names of the controls that the job needs. With them, the pipeline is for this job only.

        Raises:
            ModelLoadFailed: the weights, classes or options cannot be loaded.
            OutOfMemory: pinned models leave no room.
            torch.OutOfMemoryError: the device has too little memory.
        """
        parts = parts_of(spec, controls, device.dtype_of(spec, self.device)) if controls else []
        self._needed = frozenset(part.entry for part in parts)
        entry = self.touch(spec.name) or self._load(spec, progress)
        if entry.place is Place.PARKED:
            self.unpark(entry)
        pipeline = self._of_kind(entry, spec, kind)
        if parts:
            loaded = [(part, self._control(part, spec, pipeline, progress)) for part in parts]
            pipeline = pipeline_with(pipeline, spec, kind, loaded, _derived)
        if entry.place is Place.OFFLOADED and entry.hooked is not pipeline and spec.load.offload != "group":
            # Offload hooks belong to one pipeline, although the components are shared.
            load_options.offload(pipeline, spec.load, self.device)
            entry.hooked = None if parts else pipeline
        return pipeline

    def _control(self, part: ControlPart, spec: ModelSpec, pipeline: Any, progress: OnProgress) -> Any:
        """Return the module of a part of controls, ready for the pipeline."""
        entry = self.touch(part.entry)
        if entry is None:
            begun = time.monotonic()
            progress(0, part.bytes)
            # Hooks of the pipeline move what is a component of it.
            is_hooked = bool(part.component) and spec.load.offload in ("model", "sequential")
            place = Place.OFFLOADED if is_hooked and self.device.type != "cpu" else Place.DEVICE
            self.make_room(part.bytes if place is Place.DEVICE else 0, part.entry)
            try:
                module = part.load(pipeline)
                if place is Place.DEVICE:
                    module.to(self.device)
            except BaseException:
                self.free()
                raise
            entry = Entry(part.entry, module.eval(), memory.weights_bytes(module), place)
            progress(part.bytes, part.bytes)
            load_s = round(time.monotonic() - begun, 2)
            logger.info("control loaded", extra={"model": part.entry, "load_s": load_s, "bytes": entry.bytes})
            self.add(entry)
        elif entry.place is Place.PARKED:
            self.unpark(entry)
        return entry.pipeline

    def _of_kind(self, entry: Entry, spec: ModelSpec, kind: Kind) -> Any:
        base = entry.pipeline
        class_name = spec.pipelines.get(kind)
        if class_name is None or type(base).__name__ == class_name:
            # Of a combined pipeline use the decoder alone: prior and decoder are run and watched one after the other.
            return getattr(base, "decoder_pipe", base)
        if class_name not in entry.derived:
            entry.derived[class_name] = _derived(classes.named(class_name), base)
        return entry.derived[class_name]

    def prior(self, spec: ModelSpec, progress: OnProgress = ignore_progress) -> Any:
        """Return the pipeline that makes the model's embeddings (separate, or part of the model); None if it has none.

        Raises:
            ModelLoadFailed: it cannot be loaded.
        """
        if spec.prior:
            prior_spec = replace(
                spec,
                name=prior_entry_of(spec.name),
                source=spec.prior,
                revision=spec.prior_revision,
                prior=None,
                pipeline=None,
                pipelines={},
            )
            return self.get(prior_spec, spec.kinds[0], progress)
        entry = self.touch(spec.name)
        return getattr(entry.pipeline, "prior_pipe", None) if entry else None

    def _load(self, spec: ModelSpec, progress: OnProgress) -> Entry:
        begun = time.monotonic()
        progress(0, 0)
        source = ModelFolder(spec, self.device)
        self.make_room(source.device_bytes, spec.name)
        try:
            pipeline = source.load(progress)
        except BaseException:
            # Stopped or failed: the exception's frames release what was loaded.
            self.free()
            raise
        offloaded = spec.load.offload != "none" and self.device.type != "cpu"
        place = Place.OFFLOADED if offloaded else Place.DEVICE
        entry = Entry(spec.name, pipeline, memory.weights_bytes(pipeline), place, hooked=pipeline)
        if offloaded and spec.load.group_offload:
            entry.stays_bytes = source.device_bytes
        self.loads += 1
        load_s = time.monotonic() - begun
        self._loaded(spec.name, load_s)
        logger.info("model loaded", extra={"model": spec.name, "load_s": round(load_s, 2), "bytes": entry.bytes})
        self.add(entry)
        return entry

    def make_alone(self, model: str) -> None:
        """Free the device for one model that found too little memory beside the others."""
        self.ooms += 1
        # On a CPU parked models occupy the very memory that is missing.
        self.evict_others(model, park=self.device.type != "cpu")

    # ---- the device

    def budget_bytes(self) -> int:
        return memory.device_budget_bytes(self.device, self._settings)

    def parking_room_bytes(self, parked_bytes: int) -> int:
        return memory.parking_room_bytes(self.device, self._settings, parked_bytes)

    def move(self, entry: Entry, place: Place) -> None:
        target = self.device if place is Place.DEVICE else "cpu"
        if isinstance(entry.pipeline, torch.nn.Module):
            entry.pipeline.to(target)
        else:
            entry.pipeline.to(target, silence_dtype_warnings=True)

    def free(self) -> None:
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _derived(pipeline_class: Any, base: Any, more: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """Return a pipeline of a class with the components of another one, and with more.

    This costs no memory, because the components are shared.
    """
    names = _parts(pipeline_class)
    components = {name: part for name, part in {**base.components, **more}.items() if name in names}
    try:
        derived = pipeline_class(**{**components, **_extra(pipeline_class, base)})
    except TypeError as exc:
        raise ModelLoadFailed(f"{pipeline_class.__name__} cannot be made of the parts of the model: {exc}") from exc
    derived.set_progress_bar_config(disable=True)
    return derived


def _parts(pipeline_class: Any) -> set[str]:
    """Return the names of the modules that a pipeline class consists of."""
    return set(inspect.signature(pipeline_class.__init__).parameters)


def _extra(pipeline_class: Any, base: Any) -> dict[str, Any]:
    """Return the options (not modules) that the class also takes, such as ``requires_safety_checker``."""
    parameters = pipeline_class.__init__.__code__.co_varnames
    return {name: value for name, value in base.config.items() if name in parameters and isinstance(value, bool)}
