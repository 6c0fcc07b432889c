"""Which models lie in the device's memory, which are parked in RAM, and which go when room is needed.

Bookkeeping and policy; how weights are read and moved is in :mod:`workers.pipelines.cache`. The least recently
used model
goes first: from the device into RAM if there is room, and out of RAM in the same order. Pinned models stay.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import OutOfMemory
from jobs.slots.residency import Held, Place

logger = logging.getLogger(__name__)


def prior_of(model: str) -> str:
    """The name under which a model's prior, if it has one of its own, lies beside it."""
    return f"{model}/prior"


def _owner(name: str) -> str:
    """The model that an entry belongs to: a model and its prior are needed at once."""
    return name.partition("/")[0]


@dataclass
class Entry:
    """One model in memory."""

    model: str
    pipeline: Any
    #: Measured size of its weights.
    bytes: int
    place: Place
    #: Other pipelines over the same weights, by class name.
    derived: dict[str, Any] = field(default_factory=dict)
    #: The pipeline whose hooks move an offloaded model; see :meth:`workers.pipelines.cache.PipelineCache.get`.
    hooked: Any = None

    @property
    def device_bytes(self) -> int:
        return self.bytes if self.place is Place.DEVICE else 0


class Residency(ABC):
    """Used by one thread: a slot runs one job at a time.

    Args:
        pinned: names of the models that stay, asked for whenever room is needed.
        changed: called when anything came, went or moved.
    """

    def __init__(self, pinned: Callable[[], Collection[str]], changed: Callable[[], None]) -> None:
        self._pinned, self._changed = pinned, changed
        #: Least recently used first.
        self._entries: dict[str, Entry] = {}

    # ---- what a device can do

    @abstractmethod
    def budget_bytes(self) -> int:
        """Bytes that models may take on the device."""

    @abstractmethod
    def parking_room_bytes(self, parked_bytes: int) -> int:
        """Bytes that may be parked in RAM beside those that are."""

    @abstractmethod
    def move(self, entry: Entry, place: Place) -> None:
        """Move the weights between device and RAM."""

    @abstractmethod
    def free(self) -> None:
        """Give unused memory back."""

    # ---- what lies where

    @property
    def resident(self) -> list[str]:
        """Models that a job could start with at once."""
        return [entry.model for entry in self._entries.values() if entry.place is not Place.PARKED]

    def held(self) -> list[Held]:
        """Everything in memory, most recently used first."""
        pinned = self._pinned() if self._entries else ()
        entries = reversed(self._entries.values())
        return [Held(entry.model, entry.place, entry.bytes, _owner(entry.model) in pinned) for entry in entries]

    def touch(self, model: str) -> Entry | None:
        """The entry of a model, which becomes the most recently used."""
        entry = self._entries.pop(model, None)
        if entry is not None:
            self._entries[model] = entry
        return entry

    def add(self, entry: Entry) -> None:
        self._entries[entry.model] = entry
        self._changed()

    def make_room(self, needed_bytes: int, for_model: str) -> None:
        """Have so many bytes free on the device for a model; others go as far as they must and may.

        A model that has the device to itself is let through whatever its size: the device has the last word.

        Raises:
            OutOfMemory: what is in the way is pinned.
        """
        budget = self.budget_bytes()
        pinned = self._pinned()
        while self._used_bytes(but=for_model) + needed_bytes > budget:
            others = [e for e in self._entries.values() if e.device_bytes and _owner(e.model) != _owner(for_model)]
            victim = next((entry for entry in others if _owner(entry.model) not in pinned), None)
            if victim is None and others:
                names = ", ".join(entry.model for entry in others)
                raise OutOfMemory(
                    f"model {for_model} needs {_gib(needed_bytes)} of {_gib(budget)} for models, and pinned ones hold "
                    f"{_gib(self._used_bytes(but=for_model))}: unpin one of {names}"
                )
            if victim is None:
                return
            self._evict(victim, for_model)

    def bring_back(self, entry: Entry) -> None:
        """A parked model onto the device. Raises: OutOfMemory."""
        self.make_room(entry.bytes, entry.model)
        try:
            self.move(entry, Place.DEVICE)
        except Exception:
            self.move(entry, Place.PARKED)  # nothing stays half-way
            raise
        entry.place = Place.DEVICE
        logger.info("model brought back", extra={"model": entry.model, "bytes": entry.bytes})
        self._changed()

    def unload(self, model: str) -> bool:
        """Out of all memory. False: it was not there."""
        entries = [self._entries.pop(name) for name in (model, prior_of(model)) if name in self._entries]
        if not entries:
            return False
        for entry in entries:
            self._drop(entry, "asked for")
        self.free()
        self._changed()
        return True

    def leave_alone(self, model: str, *, park: bool) -> None:
        """Every other model, pinned ones included, out of the way (parked or not), and unused memory given back."""
        for entry in [entry for entry in self._entries.values() if _owner(entry.model) != _owner(model)]:
            if not park:
                self._drop(self._entries.pop(entry.model), "a job needs the device to itself")
            elif entry.place is Place.DEVICE:
                self._evict(entry, model)
        self.free()
        self._changed()

    def _used_bytes(self, but: str) -> int:
        return sum(entry.device_bytes for entry in self._entries.values() if entry.model != but)

    def _evict(self, entry: Entry, for_model: str) -> None:
        if entry.place is Place.DEVICE and self._make_parking_room(entry.bytes, for_model):
            try:
                self.move(entry, Place.PARKED)
            except Exception:  # quantised weights of some back ends cannot be moved
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
        """``for_model`` does not count: if it is parked, it is about to leave."""
        while True:
            parked = [
                e for e in self._entries.values() if e.place is Place.PARKED and _owner(e.model) != _owner(for_model)
            ]
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
