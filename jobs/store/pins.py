"""Pins: an operator's word on which models stay in a slot's memory; over ``keep`` of the models file, until unsaid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from jobs.models.spec import ModelSpec
from jobs.store import keys
from jobs.store.scripts import Scripts

#: (slot, model) → pinned or not; what nobody spoke about is missing.
Pins = dict[tuple[str, str], bool]


def all_pins(store: Scripts) -> Pins:
    """Raises: Unavailable."""
    return pins_from(store.call(lambda client: cast("dict[str, str]", client.hgetall(keys.PINS))))


def pins_from(found: Mapping[str, str]) -> Pins:
    """Read the hash."""
    return {(name.partition("|")[0], name.partition("|")[2]): value == "1" for name, value in found.items()}


def set_pin(store: Scripts, slot: str, model: str, pinned: bool) -> None:
    """Pin or unpin from now on, restarts included. Raises: Unavailable."""
    store.call(lambda client: client.hset(keys.PINS, f"{slot}|{model}", int(pinned)))


def is_pinned(pins: Pins, slot: str, spec: ModelSpec) -> bool:
    return pins.get((slot, spec.name), spec.load.keep)


def is_warm(pins: Pins, slot: str, spec: ModelSpec) -> bool:
    """Whether the worker loads it at its start: by the models file, or because an operator pinned it."""
    return spec.executor == "diffusers" and (spec.load.warm or pins.get((slot, spec.name), False))
