"""What is answered: the service as JSON. Jobs are shown by :mod:`jobs.view`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs.models.spec import ModelSpec
from jobs.slots.residency import Held
from jobs.slots.slot import Slot
from jobs.store.jobs import Capacity
from jobs.store.pins import is_pinned
from jobs.store.queries import Fleet


def service_view(fleet: Fleet, capacity: Capacity, version: str, visible: Callable[[str], bool]) -> dict[str, Any]:
    """The answer of the service status route. ``idle``: a job sent now would start at once.

    ``visible`` tells of a job's id whether the caller may see it; others' are left out.
    """
    active = [job_id for job_id in capacity.active if visible(job_id)]
    return {
        "service_status": "idle" if capacity.spare > 0 else "busy",
        "task_id": active[0] if active else None,
        "current_task": active[0] if active else None,
        "active_tasks": active,
        "pending_tasks": capacity.waiting,
        "counts": fleet.counts,
        "submitted": fleet.submitted,
        "slots": [slot_view(slot, fleet, visible) for slot in fleet.slots],
        "delivery_nodes": fleet.delivery_nodes,
        "object_store_away": fleet.away_nodes,
        "paused": fleet.paused,
        "waiting_models": fleet.waiting_models,
        "waiting_for": [f"model {name}" for name in fleet.stuck_models],
        "eta": fleet.eta,
        "version": version,
    }


def slot_state(slot: Slot, fleet: Fleet) -> str:
    """``lost``, ``draining``, ``busy``, ``paused``, ``waiting`` or ``idle``."""
    if slot.suspect:
        return "lost"
    if slot.draining:
        return "draining"
    if slot.job_id:
        return "busy"
    if slot.name in fleet.paused:
        return "paused"
    return "waiting" if slot.blocked else "idle"


def slot_view(slot: Slot, fleet: Fleet, visible: Callable[[str], bool]) -> dict[str, Any]:
    return {
        "name": slot.name,
        "node": slot.node,
        "device": slot.device,
        "device_name": slot.device_name,
        "state": slot_state(slot, fleet),
        "task_id": slot.job_id if slot.job_id and visible(slot.job_id) else None,
        "models": list(slot.models),
        "resident": list(slot.resident),
        "loads": slot.loads,
        "waiting_for": slot.blocked or None,
        "out_of_memory": slot.ooms,
        "held": [held_view(slot, held, fleet) for held in slot.held],
        "device_facts": slot.device_facts,
    }


def held_view(slot: Slot, held: Held, fleet: Fleet) -> dict[str, Any]:
    """A model in a slot's memory. An operator's word on pins is newer than what the slot said."""
    return {**vars(held), "pinned": fleet.pins.get((slot.name, held.model), held.pinned)}


def model_view(spec: ModelSpec, fleet: Fleet | None) -> dict[str, Any]:
    """A model as the models route shows it; without a ``fleet``, ``pinned`` and ``memory`` are null: unknown now."""
    if fleet is None:
        return {**spec.to_dict(), "warm": spec.load.warm, "pinned": None, "memory": None}
    runs = [slot for slot in fleet.slots if spec.name in slot.models]
    found = [(slot, held) for slot in runs for held in slot.held if held.model == spec.name]
    return {
        **spec.to_dict(),
        "warm": spec.load.warm,
        "pinned": [slot.name for slot in runs if is_pinned(fleet.pins, slot.name, spec)],
        "memory": [{"slot": slot.name, "place": held.place, "bytes": held.bytes} for slot, held in found],
    }
