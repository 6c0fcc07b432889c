"""What a slot holds in memory: models, and the memory of its device. Announced by workers, shown by the API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Place(StrEnum):
    """Where a model's weights lie."""

    #: In the device's memory: a job starts at once.
    DEVICE = "device"
    #: In RAM, put there to make room: a job starts after a copy.
    PARKED = "parked"
    #: In RAM by its option ``offload``; parts go to the device as they are computed with.
    OFFLOADED = "offloaded"


@dataclass(frozen=True)
class Held:
    """One model in a worker's memory."""

    model: str
    place: Place
    #: Measured size of its weights.
    bytes: int
    #: Whether it stays when room is needed.
    pinned: bool = False


def held_facts(held: Iterable[Held]) -> dict[str, str]:
    """Facts of a slot: everything as JSON, and for the scheduler the names of those a job could start with at once."""
    found = list(held)
    return {
        "held": json.dumps([asdict(one) for one in found], separators=(",", ":")),
        "resident": ",".join(one.model for one in found if one.place is not Place.PARKED),
    }


def held_from(values: Mapping[str, str]) -> tuple[Held, ...]:
    return tuple(Held(**{**one, "place": Place(one["place"])}) for one in json.loads(values.get("held") or "[]"))


def device_from(values: Mapping[str, str]) -> dict[str, Any]:
    """Facts of the device as ``workers.parent.device_facts`` measured them last; empty before the first beat."""
    facts: dict[str, Any] = json.loads(values.get("device_facts") or "{}")
    return facts
