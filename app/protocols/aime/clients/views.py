"""The bodies of responses to clients: the progress of a job, and the description of an endpoint."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from app.access import addresses
from app.extensions import hub, objects, store
from app.protocols.aime.clients.results import final_result
from app.protocols.aime.clients.states import ENDED_STATUS, STATES, reason_of
from app.protocols.aime.endpoints.spec import IMPLICIT, Endpoint
from app.submit import forecast_of
from jobs.errors import NotFound
from jobs.record import Job
from jobs.requests.custom import EndpointRequest
from jobs.slots.slot import Slot
from jobs.states import JobState
from jobs.store import previews, queries
from jobs.store.client_state import WorkerFacts
from jobs.store.runs import worker_progress_from

#: A body with its HTTP status.
View = tuple[dict[str, Any], int]


def is_reported(job: Job) -> bool:
    """Return whether a worker over HTTP computes the job, or will: its progress is what the worker reports."""
    return not job.state.is_terminal and isinstance(job.request, EndpointRequest)


def progress(endpoint: Endpoint, job: Job, reported: str | None = None) -> View:
    """Return the response to a poll; ``reported`` is what the worker reported last (JSON), None if it must be read."""
    state = STATES[job.state]
    head: dict[str, Any] = {"success": True, "job_id": job.job_id, "ep_version": endpoint.version}
    if job.state is JobState.SUCCEEDED:
        try:
            return {**head, "job_result": final_result(endpoint, job, objects()), "job_state": state}, 200
        except NotFound as exc:
            return ended(endpoint, job, exc.message, state="lapsed")
    if job.state.is_terminal:
        return ended(endpoint, job, reason_of(job), state=state)
    return {**head, "job_state": state, "progress": _progress(endpoint, job, reported)}, 200


def ended(endpoint: Endpoint, job: Job, error: str, *, state: str) -> View:
    """Return the response for a job that ended without a result."""
    numbers = {"progress": 0, "progress_data": {}, "queue_position": 0, "estimate": -1}
    return {
        "success": False,
        "error": error,
        "job_id": job.job_id,
        "ep_version": endpoint.version,
        "job_state": state,
        "progress": {**numbers, "num_workers_online": _count_workers(endpoint.model)},
    }, ENDED_STATUS


def _progress(endpoint: Endpoint, job: Job, reported: str | None) -> dict[str, Any]:
    forecast = forecast_of(job)
    workers = max(_count_workers(endpoint.model), 1 if job.slot else 0)
    is_queued = STATES[job.state] == STATES[JobState.QUEUED]
    percent, data = _reported_progress(endpoint, job, reported)
    return {
        "progress": 0 if job.state is JobState.QUEUED else percent,
        "progress_data": data,
        "queue_position": max(1, forecast.position or 1) if is_queued else 0,
        "estimate": max(0.0, round(forecast.eta_s or 0.0, 1)) if workers and job.state is not JobState.PAUSED else -1.0,
        "num_workers_online": workers,
    }


def _reported_progress(endpoint: Endpoint, job: Job, text: str | None) -> tuple[float, dict[str, Any]]:
    """Return the percentage of a job, and the progress outputs of a running one."""
    if job.state is not JobState.RUNNING:
        return job.percent, {}
    if not isinstance(job.request, EndpointRequest):
        return job.percent, _preview(endpoint, job)
    reported = store().worker_progress(job.job_id) if text is None else worker_progress_from(text)
    return reported.get("progress", 0), reported.get("progress_data", {})


def _preview(endpoint: Endpoint, job: Job) -> dict[str, Any]:
    """Return the newest preview of a run on the server's own GPUs, and request the next one."""
    outputs = [output for output in endpoint.progress_outputs.values() if output.type in ("image", "image_list")]
    if not outputs:
        return {}
    previews.ask(store(), job.job_id)
    preview = previews.newest(store(), job.job_id)
    if preview is None:
        return {}
    picture = f"data:{preview.media_type};base64,{preview.base64}"
    return {output.name: [picture] if output.type == "image_list" else picture for output in outputs}


def describe_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Return the description of an endpoint with its workers."""
    workers = _describe_workers(endpoint.model)
    waiting = queries.waiting_for(store(), endpoint.model)
    return {
        "name": endpoint.name,
        "title": endpoint.title,
        "description": endpoint.description,
        "http_methods": list(endpoint.methods),
        "version": endpoint.version,
        "category": endpoint.category,
        "demo_url": endpoint.demo_url or f"{addresses.prefix()}/{endpoint.name}/demo",
        "max_queue_length": endpoint.max_queue_length,
        "max_time_in_queue": endpoint.max_time_in_queue,
        "free_queue_slots": max(0, endpoint.max_queue_length - waiting),
        "input_metering": list(endpoint.input_metering),
        "output_metering": list(endpoint.output_metering),
        "num_active_workers": len(workers),
        "num_workers": len(workers),
        "workers": workers,
        "parameter_description": _describe_parameters(endpoint),
    }


def _describe_parameters(endpoint: Endpoint) -> dict[str, Any]:
    inputs = {name: dict(spec.declaration) for name, spec in endpoint.inputs.items()}
    inputs |= {name: {"type": kind, "required": False} for name, kind in IMPLICIT.items()}
    inputs["wait_for_result"]["default"] = True
    return {
        "input": inputs,
        "output": {name: dict(spec.declaration) for name, spec in endpoint.outputs.items()},
        "progress": {"OUTPUTS": {name: dict(spec.declaration) for name, spec in endpoint.progress_outputs.items()}},
    }


def _describe_workers(model: str) -> list[dict[str, Any]]:
    slots_by_worker: dict[str, list[Slot]] = {}
    for slot in _present_slots():
        if model in slot.models:
            slots_by_worker.setdefault(_worker_of(slot.name), []).append(slot)
    return [_describe_worker(worker, slots) for worker, slots in sorted(slots_by_worker.items())]


def _describe_worker(worker: str, slots: Iterable[Slot]) -> dict[str, Any]:
    facts = WorkerFacts(store(), worker).read() or {}
    busy = sum(1 for slot in slots if slot.job_id)
    batch_size = facts.get("max_batch_size") or 1
    first = next(iter(slots))
    return {
        "name": facts.get("name") or worker,
        "state": "processing" if busy else "waiting",
        "max_batch_size": batch_size,
        "free_slots": max(0, batch_size - busy),
        "gpu_name": facts.get("gpu_name") or first.device_name or first.device,
        "num_gpus": facts.get("num_gpus") or 1,
        "framework": facts.get("framework"),
        "framework_version": facts.get("framework_version"),
        "pytorch_version": facts.get("pytorch_version"),
        "model": facts.get("model") or {"label": ", ".join(first.models)},
    }


def _count_workers(model: str) -> int:
    return len({_worker_of(slot.name) for slot in _present_slots() if model in slot.models})


def _present_slots() -> list[Slot]:
    """Return the slots whose lease has not lapsed; looked up once a second."""
    job_store = store()
    look_up = lambda: [slot for slot in queries.fleet(job_store).slots if not slot.suspect]  # noqa: E731
    return hub().shared.get(("slots", int(time.monotonic())), look_up)


def _worker_of(slot: str) -> str:
    return slot.partition("~")[0]
