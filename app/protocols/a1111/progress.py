"""Show the progress of an API key's requests, and stop them. Requests of other keys are never shown or stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import request
from marshmallow import INCLUDE

from app.access import auth
from app.extensions import current_jobs, dispatcher, hub, store
from app.fields import Flag, Text, TextSchema, Whole, load, query_of
from app.submit import forecast_of
from jobs.record import Job
from jobs.states import JobState
from jobs.store import previews
from jobs.store.held_requests import HeldRequest, HeldRequests

#: A run that is about to be stopped may continue this long to produce a preview, seconds.
PREVIEW_WAIT_S = 1.0


class A1111TaskSchema(TextSchema):
    """A request whose progress is asked for."""

    class Meta:
        unknown = INCLUDE

    id_task = Text(allow_none=True, metadata={"description": "`force_task_id` of the request."})
    id_live_preview = Whole(allow_none=True, metadata={"description": "`id_live_preview` of the last response."})
    live_preview = Flag(allow_none=True, metadata={"description": "Whether to send a new preview."})


class _QuerySchema(TextSchema):
    class Meta:
        unknown = INCLUDE

    skip_current_image = Flag()


_TASK, _QUERY = A1111TaskSchema(), _QuerySchema()
_COMPUTED = (JobState.DELIVERING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)


@dataclass(frozen=True)
class OpenRequest:
    """A held request with its jobs, one for each batch."""

    held_request: HeldRequest
    jobs: list[Job]

    @property
    def has_started(self) -> bool:
        return any(job.started_at_ms or job.step for job in self.jobs)

    @property
    def is_over(self) -> bool:
        return bool(self.jobs) and all(job.state.is_terminal for job in self.jobs)

    @property
    def running_job(self) -> Job | None:
        """The first batch that is being computed."""
        return next((job for job in self.jobs if job.state is JobState.RUNNING), None)

    @property
    def paused_job(self) -> Job | None:
        """The first batch that was paused."""
        return next((job for job in self.jobs if job.state is JobState.PAUSED), None)

    @property
    def current_job(self) -> Job | None:
        """The batch that is being computed, else the next one."""
        return self.running_job or next((job for job in self.jobs if not job.state.is_terminal), None)

    @property
    def computed_batches(self) -> int:
        """Number of batches that were computed or stopped."""
        return sum(job.state in _COMPUTED for job in self.jobs)

    @property
    def progress(self) -> float:
        """0 to 1, by the formula of the original; 0 before the start."""
        if not self.has_started:
            return 0.0
        batches, job = len(self.held_request.job_ids), self.running_job or self.paused_job
        share = min(1.0, (job.step or 0) / job.steps) if job and job.steps else 0.0
        return min(1.0, 0.01 + self.computed_batches / batches + share / batches)

    @property
    def eta_s(self) -> float:
        """Seconds until the end at the average speed so far."""
        started_at_ms = min((job.started_at_ms for job in self.jobs if job.started_at_ms), default=0)
        elapsed_s = max(0.0, time.time() - started_at_ms / 1000) if started_at_ms else 0.0
        return elapsed_s / self.progress - elapsed_s if self.progress else 0.0

    def picture(self) -> str | None:
        """Return the newest preview of the running batch in base64, and request further ones."""
        job = self.running_job
        if job is None:
            return None
        hub().shared.get(("preview is wanted", job.job_id), lambda: previews.ask(store(), job.job_id))
        if job.preview_step is None:
            return None
        return current_jobs().body(job, "preview", lambda: _preview_of(job)).decode() or None


def _preview_of(job: Job) -> bytes:
    """Return the newest preview of a job in base64; b'' if the run has just ended."""
    preview = previews.newest(store(), job.job_id)
    return preview.base64.encode() if preview else b""


def held_requests() -> HeldRequests:
    """Return the held requests of the caller."""
    return HeldRequests(store(), auth.caller().key_id)


def open_requests() -> list[OpenRequest]:
    """Return the caller's unfinished requests, oldest first, started ones before waiting ones."""
    requests = held_requests()
    unfinished = []
    for open_request in _load(requests.all()):
        if open_request.is_over:
            requests.unlist(open_request.held_request)
        else:
            unfinished.append(open_request)
    return sorted(unfinished, key=lambda open_request: not open_request.has_started)


def skips_picture() -> bool:
    """Return ``skip_current_image`` of the query. Raises: InvalidRequest."""
    values, _ = load(_QUERY, query_of(request))
    return bool(values.get("skip_current_image"))


def progress_body(*, with_picture: bool) -> dict[str, Any]:
    """Return the body of ``progress``: the state of the caller's first unfinished request."""
    current = next(iter(open_requests()), None)
    if current is None:
        return {
            "progress": 0.0, "eta_relative": 0.0, "state": _state(None), "current_image": None, "textinfo": None
        }  # fmt: skip
    return {
        "progress": current.progress,
        "eta_relative": current.eta_s,
        "state": _state(current),
        "current_image": current.picture() if with_picture else None,
        "textinfo": _text(current),
    }


def _text(current: OpenRequest) -> str | None:
    """Return what the request waits for, if anything."""
    return _reason(current) or (None if current.has_started else "Waiting...")


def _reason(current: OpenRequest) -> str:
    """Return what keeps the request from going on; '' if nothing does."""
    job = current.current_job
    waiting_for = forecast_of(job).waiting_for if job else None
    return f"Waiting for {waiting_for}" if waiting_for else ""


def _state(current: OpenRequest | None) -> dict[str, Any]:
    job = current.current_job if current else None
    created = datetime.fromtimestamp(job.created_at_ms / 1000).astimezone().strftime("%Y%m%d%H%M%S") if job else "0"
    return {
        "skipped": False,
        "interrupted": False,
        "stopping_generation": False,
        "job": current.held_request.request_id if current else "",
        "job_count": len(current.held_request.job_ids) if current else 0,
        "job_timestamp": created,
        "job_no": current.computed_batches if current else 0,
        "sampling_step": (job.step or 0) if job else 0,
        "sampling_steps": job.steps if job else 0,
    }


def interrupt() -> None:
    """Stop all batches of the caller's started requests; waiting requests stay in the queue."""
    for open_request in open_requests():
        if open_request.has_started:
            # Waiting batches first: they would start when the running one is stopped.
            for job in reversed(open_request.jobs):
                _stop(open_request.held_request, job)


def skip() -> None:
    """Stop the batch that is being computed."""
    for open_request in open_requests():
        if job := open_request.running_job:
            _stop(open_request.held_request, job)
            return


def _load(held_requests: list[HeldRequest]) -> list[OpenRequest]:
    ids = [job_id for held_request in held_requests for job_id in held_request.job_ids]
    jobs = {job.job_id: job for job in current_jobs().find(ids)} if ids else {}
    return [OpenRequest(one, [jobs[job_id] for job_id in one.job_ids if job_id in jobs]) for one in held_requests]


def _stop(held_request: HeldRequest, job: Job) -> None:
    if job.state.is_terminal or job.state is JobState.DELIVERING:
        return  # it was computed; only its file is not stored yet
    preview = _last_preview(job)
    picture, media_type = (preview.base64, preview.media_type) if preview else ("", "")
    held_requests().interrupt(held_request, job.job_id, picture, media_type)
    dispatcher().cancel(job.job_id)


def _last_preview(job: Job) -> previews.Preview | None:
    """Return the newest preview. If nobody has requested one yet, wait a moment for the next step to produce it."""
    preview = previews.newest(store(), job.job_id)
    if preview is None and job.state is JobState.RUNNING:
        previews.ask(store(), job.job_id)
        deadline = time.monotonic() + PREVIEW_WAIT_S
        while preview is None and time.monotonic() < deadline:
            time.sleep(0.05)
            preview = previews.newest(store(), job.job_id)
    return preview


def task_progress(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body of ``internal/progress``: the state of the request with this id. Raises: InvalidRequest."""
    fields, _ = load(_TASK, body)
    request_id = fields.get("id_task") or ""
    held_request = held_requests().find(request_id)
    open_request = _load([held_request])[0] if held_request else None
    if open_request is None or open_request.is_over:
        return _task(completed=open_request is not None)
    if not open_request.has_started:
        waiting = held_requests().waiting()
        place = f"In queue: {waiting.index(request_id) + 1}/{len(waiting)}" if request_id in waiting else "Waiting..."
        if reason := _reason(open_request):
            place = f"{place}. {reason}" if request_id in waiting else reason
        return _task(queued=True, textinfo=place)
    job = open_request.running_job
    step = (job.preview_step if job else None) or -1
    wants_preview = fields.get("live_preview", True)
    is_new = wants_preview and step != fields.get("id_live_preview") and step >= 0
    picture = open_request.picture() if wants_preview else None
    return _task(
        active=True, progress=open_request.progress, eta=open_request.eta_s, id_live_preview=step,
        live_preview=f"data:image/jpeg;base64,{picture}" if picture and is_new else None,
    )  # fmt: skip


def pending_tasks() -> dict[str, Any]:
    """Return the body of ``internal/pending-tasks``: the caller's requests that have not started."""
    waiting = held_requests().waiting()
    return {"size": len(waiting), "tasks": waiting}


def _task(**values: Any) -> dict[str, Any]:
    return {
        "active": False, "queued": False, "completed": False, "progress": None, "eta": None, "live_preview": None,
        "id_live_preview": -1, "textinfo": None, **values,
    }  # fmt: skip
