"""What is answered: jobs and the service as JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jobs.forecast import Forecast
from jobs.objects import ObjectStore
from jobs.queries import Fleet
from jobs.record import Job
from jobs.slots import Slot
from jobs.states import JobState
from jobs.store import Room

#: ``status`` beside ``state``: the words that clients of LightX2V, who poll these routes too, wait for.
STATUS_WORDS: dict[JobState, str] = {
    JobState.QUEUED: "pending",
    JobState.RUNNING: "processing",
    JobState.DELIVERING: "processing",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "failed",
}


def links(job_id: str) -> dict[str, str]:
    base = f"/v1/tasks/{job_id}"
    more = {name: f"{base}/{name}" for name in ("status", "result", "events")}
    return {"self": base, **more, "cancel": base}


def job_view(job: Job, forecast: Forecast, objects: ObjectStore) -> dict[str, Any]:
    """The answer of the status route."""
    return {
        "task_id": job.job_id,
        "state": job.state,
        "status": STATUS_WORDS[job.state],
        "model": job.request.model,
        "kind": job.request.kind,
        "stage": job.stage,
        "step": job.step or 0,
        "steps": job.steps,
        "percent": job.percent,
        "position": forecast.position,
        "eta_s": None if forecast.eta_s is None else round(forecast.eta_s, 2),
        "waiting_for": forecast.waiting_for,
        "class": job.job_class,
        "priority": job.priority,
        "slot": job.slot,
        "device": job.device,
        "attempt": job.starts,
        "error": job.error,
        "warnings": job.warnings,
        "request": {name: value for name, value in job.request.to_dict().items() if name != "image"},
        "created_at": iso(job.created_at_ms),
        "started_at": iso(job.started_at_ms),
        "computed_at": iso(job.computed_at_ms),
        "finished_at": iso(job.finished_at_ms),
        "retention": job.retention,
        "expires_at": iso(job.expires_at_ms),
        "outputs": [
            {
                "index": index,
                "url": objects.url(output.key) or f"/v1/tasks/{job.job_id}/result?index={index}",
                **{name: value for name, value in vars(output).items() if name != "key"},
            }
            for index, output in enumerate(job.outputs)
        ],
        "links": links(job.job_id),
    }


def service_view(fleet: Fleet, room: Room, version: str, visible: Callable[[str], bool]) -> dict[str, Any]:
    """The answer of the service status route. ``idle``: a job sent now would start at once.

    ``visible`` tells of a job's id whether the caller may see it; others' are left out.
    """
    active = [job_id for job_id in room.active if visible(job_id)]
    return {
        "service_status": "idle" if room.more > 0 else "busy",
        "task_id": active[0] if active else None,
        "current_task": active[0] if active else None,
        "active_tasks": active,
        "pending_tasks": room.waiting,
        "counts": fleet.counts,
        "submitted": fleet.submitted,
        "slots": [slot_view(slot, fleet, visible) for slot in fleet.slots],
        "delivery_nodes": fleet.delivery_nodes,
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
    }


def iso(time_ms: int | None) -> str | None:
    """Milliseconds since 1970 as ISO 8601 in UTC."""
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
