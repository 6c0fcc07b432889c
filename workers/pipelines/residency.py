"""Decide which models are in the device's memory, which are parked in RAM, and which are evicted to make room.

This module contains the bookkeeping and the policy; :mod:`workers.pipelines.cache` reads and moves the weights. The
least recently used model is evicted first: from the device into RAM if there is room, and from RAM in the same order.
Pinned models stay.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import OutOfMemory
from jobs.slots.residency import LoadedModel, Place

logger = logging.getLogger(__name__)


def prior_entry_of(model: str) -> str:
    """Return the name of the entry of a model's prior, if the prior has a folder of its own."""
    return f"{model}/prior"


def control_entry_of(model: str, name: str) -> str:
    """Return the name of the entry of a model's control, or of several that are loaded together."""
    return f"{model}/control/{name}"


def _owner(name: str) -> str:
    """Return the model that an entry belongs to: a model and its prior are needed together."""
    return name.partition("/")[0]


def _is_control(name: str) -> bool:
    """Return whether an entry is a control, which only some jobs of its model need."""
    return name.partition("/")[2].startswith("control/")


@dataclass
class Entry:
    """One model in memory."""

    model: str
    #: The pipeline; of a control its module.
    pipeline: Any
    #: Measured size of its weights.
    bytes: int
    place: Place
    #: Other pipelines that share the weights, by class name.
    derived: dict[str, Any] = field(default_factory=dict)
    #: Size of the components that stay on the device while the others are offloaded.
    stays_bytes: int = 0
    #: The pipeline whose hooks move an offloaded model; see :meth:`workers.pipelines.cache.PipelineCache.get`.
    hooked: Any = None

    @property
    def device_bytes(self) -> int:
        return self.bytes if self.place is Place.DEVICE else self.stays_bytes


class Residency(ABC):
    """The models in memory. Not thread-safe: a slot runs one job at a time.

    Args:
        pinned: returns the names of the models that stay; called whenever room is needed.
        changed: called when a model was loaded, moved or evicted.
    """

    def __init__(self, pinned: Callable[[], Collection[str]], changed: Callable[[], None]) -> None:
        self._pinned, self._changed = pinned, changed
        #: Least recently used first.
        self._entries: dict[str, Entry] = {}
        #: Names of the entries of the controls that the present job needs.
        self._needed: frozenset[str] = frozenset()

    # ---- the device

    @abstractmethod
    def budget_bytes(self) -> int:
        """Return the bytes that models may use on the device."""

    @abstractmethod
    def parking_room_bytes(self, parked_bytes: int) -> int:
        """Return how many more bytes may be parked in RAM when ``parked_bytes`` are parked already."""

    @abstractmethod
    def move(self, entry: Entry, place: Place) -> None:
        """Move the weights to the device or to RAM."""

    @abstractmethod
    def free(self) -> None:
        """Release unused memory."""

    # ---- models in memory

    @property
    def resident(self) -> list[str]:
        """Models with which a job could start at once."""
        return [entry.model for entry in self._entries.values() if entry.place is not Place.PARKED]

    def loaded_models(self) -> list[LoadedModel]:
        """Return all models in memory, most recently used first."""
        pinned = self._pinned() if self._entries else ()
        entries = reversed(self._entries.values())
        return [LoadedModel(one.model, one.place, one.bytes, self._is_pinned(one, pinned)) for one in entries]

    def touch(self, model: str) -> Entry | None:
        """Return the entry of a model and mark it as the most recently used."""
        entry = self._entries.pop(model, None)
        if entry is not None:
            self._entries[model] = entry
        return entry

    def add(self, entry: Entry) -> None:
        self._entries[entry.model] = entry
        self._changed()

    def make_room(self, needed_bytes: int, for_model: str) -> None:
        """Evict other models until ``needed_bytes`` are free on the device.

        A model that has the device to itself is accepted whatever its size: loading it will show whether it fits.

        Raises:
            OutOfMemory: only pinned models are left.
        """
        budget = self.budget_bytes()
        pinned = self._pinned()
        while self._used_bytes(excluding=for_model) + needed_bytes > budget:
            others = [entry for entry in self._others(for_model) if entry.device_bytes]
            victim = next((entry for entry in others if not self._is_pinned(entry, pinned)), None)
            if victim is None and others:
                names = ", ".join(entry.model for entry in others)
                raise OutOfMemory(
                    f"model {for_model} needs {_gib(needed_bytes)} of {_gib(budget)} for models, and pinned ones hold "
                    f"{_gib(self._used_bytes(excluding=for_model))}: unpin one of {names}"
                )
            if victim is None:
                return
            self._evict(victim, for_model)

    def unpark(self, entry: Entry) -> None:
        """Move a parked model back to the device. Raises: OutOfMemory."""
        self.make_room(entry.bytes, entry.model)
        try:
            self.move(entry, Place.DEVICE)
        except Exception:
            self.move(entry, Place.PARKED)  # undo a partial move
            raise
        entry.place = Place.DEVICE
        logger.info("model brought back", extra={"model": entry.model, "bytes": entry.bytes})
        self._changed()

    def unload(self, model: str) -> bool:
        """Remove a model from all memory. Return whether it was there."""
        entries = [self._entries.pop(name) for name in list(self._entries) if _owner(name) == model]
        if not entries:
            return False
        for entry in entries:
            self._drop(entry, "a command asked for it")
        self.free()
        self._changed()
        return True

    def evict_others(self, model: str, *, park: bool) -> None:
        """Evict all other models, pinned ones included, from the device; ``park``: keep them in RAM if possible."""
        for entry in self._others(model):
            if not park:
                self._drop(self._entries.pop(entry.model), "a job needs the device to itself")
            elif entry.place is Place.DEVICE:
                self._evict(entry, model)
        self.free()
        self._changed()

    def _others(self, model: str) -> list[Entry]:
        """Return the entries of other models, and of controls that the present job does not need, in that order.

        Within both, the least recently used comes first.
        """
        own = [entry for entry in self._entries.values() if _owner(entry.model) == _owner(model)]
        unused = [entry for entry in own if _is_control(entry.model) and entry.model not in self._needed]
        return [entry for entry in self._entries.values() if entry not in own or entry in unused]

    @staticmethod
    def _is_pinned(entry: Entry, pinned: Collection[str]) -> bool:
        """Return whether an entry stays. Controls of pinned models do not: they are optional."""
        return _owner(entry.model) in pinned and not _is_control(entry.model)

    def _used_bytes(self, excluding: str) -> int:
        return sum(entry.device_bytes for entry in self._entries.values() if entry.model != excluding)

    def _evict(self, entry: Entry, for_model: str) -> None:
        if entry.place is Place.DEVICE and self._make_parking_room(entry.bytes, for_model):
            try:
                self.move(entry, Place.PARKED)
            except Exception:  # weights quantised by some libraries cannot be moved
                logger.warning("model cannot be parked", extra={"model": entry.model}, exc_info=True)
            else:
                entry.place = Place.PARKED
                logger.info("model parked", extra={"model": entry.model, "bytes": entry.bytes})
                self.free()
                self._changed()
                return
        del self._entries[entry.model]
        self._drop(entry, "room is needed")
        self.free()
        self._changed()

    def _make_parking_room(self, needed_bytes: int, for_model: str) -> bool:
        """Evict parked models until there is room; ``for_model`` itself, if parked, is about to leave RAM."""
        while True:
            parked = [entry for entry in self._others(for_model) if entry.place is Place.PARKED]
            room = self.parking_room_bytes(sum(entry.bytes for entry in parked))
            if room >= needed_bytes:
                return True
            if not parked or room + sum(entry.bytes for entry in parked) < needed_bytes:
                return False
            oldest = self._entries.pop(parked[0].model)
            self._drop(oldest, "room in RAM is needed")
            self.free()

    def _drop(self, entry: Entry, why: str) -> None:
        entry.pipeline = entry.hooked = None
        entry.derived.clear()
        logger.info("model unloaded", extra={"model": entry.model, "bytes": entry.bytes, "why": why})


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.3g} GiB"
