"""What clients are told: where a job is, what endpoints there are."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from app.extensions import objects, store
from app.protocols.aime.clients.states import ENDED_STATUS, STATES, why
from app.protocols.aime.endpoints.spec import IMPLICIT, Endpoint
from app.protocols.aime.workers.results import final_result
from jobs.errors import NotFound
from jobs.record import Job
from jobs.requests.custom import EndpointRequest
from jobs.slots.slot import Slot
from jobs.states import JobState
from jobs.store import previews, queries

Answer = tuple[dict[str, Any], int]


def progress(endpoint: Endpoint, job: Job) -> Answer:
    """The answer of a poll, and its status."""
    word = STATES[job.state]
    head: dict[str, Any] = {"success": True, "job_id": job.job_id, "ep_version": endpoint.version}
    if job.state is JobState.SUCCEEDED:
        try:
            return {**head, "job_result": final_result(endpoint, job, objects()), "job_state": word}, 200
        except NotFound as exc:
            return ended(endpoint, job, exc.message, word="lapsed")
    if job.state.is_terminal:
        return ended(endpoint, job, why(job), word=word)
    return {**head, "job_state": word, "progress": _progress(endpoint, job)}, 200


def ended(endpoint: Endpoint, job: Job, error: str, *, word: str) -> Answer:
    """A job without a result."""
    numbers = {"progress": 0, "progress_data": {}, "queue_position": 0, "estimate": -1}
    state: dict[str, Any] = {"job_state": word, "progress": {**numbers, "num_workers_online": online(endpoint.model)}}
    head = {"success": False, "error": error, "job_id": job.job_id, "ep_version": endpoint.version}
    return {**head, **state}, ENDED_STATUS


def _progress(endpoint: Endpoint, job: Job) -> dict[str, Any]:
    forecast = store().forecast(job.job_id)[0]
    workers = max(online(endpoint.model), 1 if job.slot else 0)
    estimate = -1.0 if not workers else max(0.0, round(forecast.eta_s or 0.0, 1))
    noted = store().worker_progress(job.job_id) if job.state is JobState.RUNNING else {}
    if job.state is JobState.RUNNING and not isinstance(job.request, EndpointRequest):
        noted = {"progress": job.percent, "progress_data": _preview(endpoint, job)}
    waiting = job.state is JobState.QUEUED
    return {
        "progress": 0 if waiting else noted.get("progress", job.percent),
        "progress_data": noted.get("progress_data", {}),
        "queue_position": max(1, forecast.position or 1) if waiting else 0,
        "estimate": estimate,
        "num_workers_online": workers,
    }


def _preview(endpoint: Endpoint, job: Job) -> dict[str, Any]:
    """The newest picture of a run on the server's own GPUs; whoever polls wants the next one, too."""
    outputs = [one for one in endpoint.progress_outputs.values() if one.type in ("image", "image_list")]
    if not outputs:
        return {}
    previews.ask(store(), job.job_id)
    found = previews.newest(store(), job.job_id)
    if found is None:
        return {}
    picture = f"data:{found.media_type};base64,{found.base64}"
    return {one.name: [picture] if one.type == "image_list" else picture for one in outputs}


def online(model: str) -> int:
    """Workers of a model that are there; looked up once a second."""
    return len({_worker_of(slot.name) for slot in _slots(int(time.monotonic())) if model in slot.models})


@lru_cache(maxsize=1)
def _slots(second: int) -> list[Slot]:
    return [slot for slot in queries.fleet(store()).slots if not slot.suspect]


def _worker_of(slot: str) -> str:
    return slot.partition("~")[0]


def endpoint_view(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint's description of itself, with its workers."""
    workers = _workers(endpoint.model)
    waiting = queries.waiting_for(store(), endpoint.model)
    inputs = {name: dict(one.described) for name, one in endpoint.inputs.items()}
    inputs |= {name: {"type": kind, "required": False} for name, kind in IMPLICIT.items()}
    inputs["wait_for_result"]["default"] = True
    return {
        "name": endpoint.name,
        "title": endpoint.title,
        "description": endpoint.description,
        "http_methods": list(endpoint.methods),
        "version": endpoint.version,
        "category": endpoint.category,
        "demo_url": endpoint.demo_url or f"/{endpoint.name}/demo",
        "max_queue_length": endpoint.max_queue_length,
        "max_time_in_queue": endpoint.max_time_in_queue,
        "free_queue_slots": max(0, endpoint.max_queue_length - waiting),
        "input_metering": list(endpoint.input_metering),
        "output_metering": list(endpoint.output_metering),
        "num_active_workers": len(workers),
        "num_workers": len(workers),
        "workers": workers,
        "parameter_description": {
            "input": inputs,
            "output": {name: dict(one.described) for name, one in endpoint.outputs.items()},
            "progress": {"OUTPUTS": {name: dict(one.described) for name, one in endpoint.progress_outputs.items()}},
        },
    }


def _workers(model: str) -> list[dict[str, Any]]:
    found: dict[str, list[Slot]] = {}
    for slot in _slots(int(time.monotonic())):
        if model in slot.models:
            found.setdefault(_worker_of(slot.name), []).append(slot)
    return [_worker(base, slots) for base, slots in sorted(found.items())]


def _worker(base: str, slots: Iterable[Slot]) -> dict[str, Any]:
    known = queries.slot_description(store(), base)
    busy = sum(1 for slot in slots if slot.job_id)
    most = known.get("max_batch_size") or 1
    first = next(iter(slots))
    return {
        "name": known.get("name") or base,
        "state": "processing" if busy else "waiting",
        "max_batch_size": most,
        "free_slots": max(0, most - busy),
        "gpu_name": known.get("gpu_name") or first.device_name or first.device,
        "num_gpus": known.get("num_gpus") or 1,
        "framework": known.get("framework"),
        "framework_version": known.get("framework_version"),
        "pytorch_version": known.get("pytorch_version"),
        "model": known.get("model") or {"label": ", ".join(first.models)},
    }
