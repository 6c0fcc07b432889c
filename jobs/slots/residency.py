"""The models in a slot's memory, and the memory of its device. Workers announce them, the API shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any


class Place(StrEnum):
    """Where the weights of a model are."""

    #: In the device's memory: a job starts at once.
    DEVICE = "device"
    #: In RAM, moved there to make room: a job starts after a copy.
    PARKED = "parked"
    #: In RAM because of the option ``offload``; parts are copied to the device as they are needed.
    OFFLOADED = "offloaded"


@dataclass(frozen=True)
class LoadedModel:
    """One model in a worker's memory."""

    model: str
    place: Place
    #: Measured size of its weights.
    bytes: int
    #: Whether it stays when room is needed.
    pinned: bool = False


def memory_facts(models: Iterable[LoadedModel]) -> dict[str, str]:
    """Return the facts of a slot about its models: all of them as JSON, and the names of those ready for a job."""
    models = list(models)
    return {
        "held": json.dumps([asdict(model) for model in models], separators=(",", ":")),
        "resident": ",".join(model.model for model in models if model.place is not Place.PARKED),
    }


def loaded_models_from(facts: Mapping[str, str]) -> tuple[LoadedModel, ...]:
    """Read the models from the facts of a slot."""
    return _loaded_models(facts.get("held") or "[]")


@lru_cache(maxsize=4096)
def _loaded_models(text: str) -> tuple[LoadedModel, ...]:
    """Read a list in JSON. Those of slots change seldom, and are read with each look at the fleet."""
    entries = json.loads(text)
    known = ({name: entry[name] for name in LoadedModel.__dataclass_fields__ if name in entry} for entry in entries)
    return tuple(LoadedModel(**{**entry, "place": Place(entry["place"])}) for entry in known)


def device_facts_from(facts: Mapping[str, str]) -> dict[str, Any]:
    """Read from the facts of a slot what ``workers.parent.devices.facts`` measured last; empty at first."""
    measured: dict[str, Any] = json.loads(facts.get("device_facts") or "{}")
    return measured
