"""What the process of a slot keeps from one job to the next: models in memory, object store, registry."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

from jobs.errors import Unavailable
from jobs.models.backends import registry_of
from jobs.models.registry import ModelRegistry
from jobs.models.spec import ModelSpec
from jobs.objects.base import ObjectStore
from jobs.objects.reading import read_all
from jobs.requests.generation import GenerationRequest
from jobs.slots.residency import memory_facts
from jobs.slots.slot import device_label
from jobs.store.measuring import families
from jobs.store.measuring.objects import open_measured
from jobs.store.pins import Pins, all_pins, is_pinned
from tasks.runtime import OWNER_VARIABLE, SLOT_VARIABLE, settings, store
from workers.gpu.batch_profiles import BatchProfiles

if TYPE_CHECKING:
    from workers.pipelines.cache import PipelineCache

logger = logging.getLogger(__name__)


class SlotProcess:
    """The process that computes the jobs of one slot."""

    def __init__(self, slot: str, owner: str) -> None:
        self.slot, self.owner = slot, owner
        #: What this process holds, as it was last announced to the slot.
        self.facts: dict[str, Any] = {}
        #: When each model was used last, seconds since 1970.
        self._used_at: dict[str, int] = {}
        #: The pins as they were last read.
        self._pins: Pins = {}
        #: Models whose jobs share no run any more, because the memory of the device was too small for it.
        self.computes_alone: set[str] = set()

    @cached_property
    def device(self) -> str:
        """Where it computes, for people."""
        return device_label(self.slot)

    @cached_property
    def models(self) -> ModelRegistry:
        return registry_of(settings())

    @cached_property
    def objects(self) -> ObjectStore:
        return open_measured(settings(), store().measures)

    @cached_property
    def pipelines(self) -> PipelineCache:
        from workers.pipelines.libraries import import_libraries

        import_libraries()
        from workers.pipelines.cache import PipelineCache

        return PipelineCache(settings(), self._pinned_models, self._announce, _measure_load)

    @cached_property
    def _profiles(self) -> BatchProfiles:
        return BatchProfiles(settings().paths.models_file, partial(logger.error, "jobs share no runs: %s"))

    def most_together(self, spec: ModelSpec, request: GenerationRequest) -> int:
        """Return how many jobs like this one may share a run; 1: it is computed alone."""
        if spec.name in self.computes_alone or not self._profiles.has(spec.name):
            return 1
        return self._profiles.most_together(spec, self.pipelines.device_name, request)

    def inputs_of(self, request: GenerationRequest, waiting: Callable[[], None]) -> dict[str, bytes]:
        """Return the content of the request's input files by their keys.

        ``waiting`` is called again and again while the object store does not answer; it may raise to give up.
        """
        return {key: read_all(self.objects, key, waiting) for key in request.inputs}

    @contextlib.contextmanager
    def in_use(self, spec: ModelSpec) -> Iterator[None]:
        """Tell the slot that a model is in use, if it is one that is unloaded when nobody uses it.

        The end of the use is told with the next job that starts.
        """
        if not spec.load.unload_after(settings()):
            yield
            return
        self._note_use(spec.name)
        with contextlib.suppress(Unavailable):  # the model may be unloaded too early
            store().set_facts(self.slot, self.owner, self.facts)
        try:
            yield
        finally:
            self._note_use(spec.name)

    def _note_use(self, model: str) -> None:
        self._used_at[model] = int(time.time())
        self.facts["used_at"] = json.dumps(self._used_at, separators=(",", ":"))

    def _pinned_models(self) -> set[str]:
        """Return the models that must stay in this slot's memory."""
        with contextlib.suppress(Unavailable):
            self._pins = all_pins(store())
        return {spec.name for spec in self.models if is_pinned(self._pins, self.slot, spec)}

    def _announce(self) -> None:
        """Write to the slot which models this process holds."""
        pipelines = self.pipelines
        self.facts |= {"loads": pipelines.loads, "ooms": pipelines.ooms, "device_name": pipelines.device_name}
        self.facts |= memory_facts(pipelines.loaded_models())
        with contextlib.suppress(Unavailable):  # used for display and for choosing jobs; the run needs no Redis
            store().set_facts(self.slot, self.owner, self.facts)


def _measure_load(model: str, seconds: float) -> None:
    store().measures.observe(families.LOAD, model, seconds=seconds)


@cache
def slot_process() -> SlotProcess:
    """Return the state of this process, whose parent has set its slot and owner."""
    return SlotProcess(os.environ[SLOT_VARIABLE], os.environ[OWNER_VARIABLE])
