"""Pins: operator override of which models stay in a slot's memory; takes precedence over ``keep`` until removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from jobs.models.spec import ModelSpec
from jobs.store import keys
from jobs.store.scripts import Scripts

#: (slot, model) → whether it is pinned; absent where no operator has decided.
Pins = dict[tuple[str, str], bool]


def all_pins(store: Scripts) -> Pins:
    """Return the pins of all slots. Raises: Unavailable."""
    return pins_from(store.call(lambda client: cast("dict[str, str]", client.hgetall(keys.PINS))))


def pins_from(values: Mapping[str, str]) -> Pins:
    """Return the pins in the Redis hash."""
    return {(name.partition("|")[0], name.partition("|")[2]): value == "1" for name, value in values.items()}


def set_pin(store: Scripts, slot: str, model: str, pinned: bool) -> None:
    """Pin or unpin a model; it holds across restarts of the worker. Raises: Unavailable."""
    store.call(lambda client: client.hset(keys.PINS, f"{slot}|{model}", int(pinned)))


def is_pinned(pins: Pins, slot: str, spec: ModelSpec) -> bool:
    """Return whether a model stays in a slot's memory: as an operator decided, else as the models file says."""
    return pins.get((slot, spec.name), spec.load.keep)


def is_warm(pins: Pins, slot: str, spec: ModelSpec) -> bool:
    """Return whether the worker loads a model at its start: by the models file, or because it is pinned."""
    return spec.executor == "diffusers" and (spec.load.warm or pins.get((slot, spec.name), False))
