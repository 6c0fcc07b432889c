"""Slots, queue and models as JSON. Jobs are shown by :mod:`jobs.job_view`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from jobs.models.spec import ModelSpec
from jobs.slots.residency import LoadedModel
from jobs.slots.slot import Slot
from jobs.store.jobs import Capacity
from jobs.store.pins import is_pinned
from jobs.store.queries import Fleet


def fleet_view(fleet: Fleet, version: str, visible: Collection[str]) -> dict[str, Any]:
    """Return the slots and the delivery workers.

    Args:
        fleet: slots, delivery workers and pins.
        version: of this server.
        visible: ids of the jobs that the caller may see; others are left out.
    """
    return {
        "slots": [slot_view(slot, fleet, visible) for slot in fleet.slots],
        "delivery": fleet.delivery_nodes,
        "object_store_away": list(fleet.away_nodes),
        "version": version,
    }


def queue_view(fleet: Fleet, capacity: Capacity, max_waiting: int, visible: list[str]) -> dict[str, Any]:
    """Return the queue.

    Args:
        fleet: its counts and pauses.
        capacity: how many jobs that are submitted now would start at once, and the waiting jobs.
        max_waiting: most jobs that may wait.
        visible: ids of the active jobs that the caller may see.
    """
    return {
        "idle": capacity.spare > 0,
        "active": visible,
        "counts": fleet.counts,
        "submitted": fleet.submitted,
        "waiting": {"total": capacity.waiting, "by_model": fleet.waiting_models, "by_class": fleet.waiting_classes},
        "waiting_for": [f"model {name}" for name in fleet.stuck_models],
        "max_waiting": max_waiting,
        "paused": fleet.paused,
        "eta": fleet.eta,
    }


def slot_view(slot: Slot, fleet: Fleet, visible: Collection[str]) -> dict[str, Any]:
    """Return a slot: what it does, and what is in its memory."""
    return {
        "name": slot.name,
        "node": slot.node,
        "device": slot.device,
        "device_name": slot.device_name,
        "state": fleet.state_of(slot),
        "job_id": slot.job_id if slot.job_id in visible else None,
        "models": list(slot.models),
        "resident": list(slot.resident),
        "loads": slot.loads,
        "waiting_for": slot.blocked or None,
        "out_of_memory": slot.ooms,
        "held": [held_view(slot, held, fleet) for held in slot.loaded_models],
        "device_facts": slot.device_facts,
    }


def held_view(slot: Slot, held: LoadedModel, fleet: Fleet) -> dict[str, Any]:
    """Return a model in a slot's memory. An operator's pin is newer than what the slot reported."""
    return {**vars(held), "pinned": fleet.pins.get((slot.name, held.model), held.pinned)}


def model_view(spec: ModelSpec, fleet: Fleet | None) -> dict[str, Any]:
    """Return a model. Without a ``fleet``, ``pinned`` and ``memory`` are unknown and therefore null."""
    if fleet is None:
        return {**spec.to_dict(), "warm": spec.load.warm, "pinned": None, "memory": None}
    runs = [slot for slot in fleet.slots if spec.name in slot.models]
    copies = [(slot, held) for slot in runs for held in slot.loaded_models if held.model == spec.name]
    return {
        **spec.to_dict(),
        "warm": spec.load.warm,
        "pinned": [slot.name for slot in runs if is_pinned(fleet.pins, slot.name, spec)],
        "memory": [{"slot": slot.name, "place": held.place, "bytes": held.bytes} for slot, held in copies],
    }
