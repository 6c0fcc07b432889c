"""What runs of a key's calls: how far it is, and stopping it. Calls of other keys are neither seen nor stopped."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app import auth
from app.extensions import dispatcher, store
from jobs.record import Job
from jobs.states import JobState
from jobs.store import previews, queries
from jobs.store.held_requests import HeldRequest, HeldRequests

#: A run that is about to be stopped may go on for so long to show what it has, seconds.
PREVIEW_WAIT_S = 1.0
_COMPUTED = (JobState.DELIVERING, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)


@dataclass(frozen=True)
class Open:
    """A call that is not over, with its jobs."""

    held_request: HeldRequest
    jobs: list[Job]

    @property
    def has_begun(self) -> bool:
        return any(job.started_at_ms for job in self.jobs)

    @property
    def is_over(self) -> bool:
        return bool(self.jobs) and all(job.state.is_terminal for job in self.jobs)

    @property
    def running(self) -> Job | None:
        """The first batch that is being computed."""
        return next((job for job in self.jobs if job.state is JobState.RUNNING), None)

    @property
    def done(self) -> int:
        """Number of batches that were computed or stopped."""
        return sum(job.state in _COMPUTED for job in self.jobs)

    @property
    def progress(self) -> float:
        """0 to 1, by the original's formula; 0 while it waits."""
        if not self.has_begun:
            return 0.0
        count, now = len(self.held_request.job_ids), self.running
        share = min(1.0, (now.step or 0) / now.steps) if now and now.steps else 0.0
        return min(1.0, 0.01 + self.done / count + share / count)

    @property
    def eta_s(self) -> float:
        """Seconds to its end, if it goes on as until now."""
        begun = min((job.started_at_ms for job in self.jobs if job.started_at_ms), default=0)
        elapsed_s = max(0.0, time.time() - begun / 1000) if begun else 0.0
        return elapsed_s / self.progress - elapsed_s if self.progress else 0.0

    def picture(self) -> str | None:
        """What there is of the running batch, base64; asking has more made."""
        job = self.running
        if job is None:
            return None
        previews.ask(store(), job.job_id)
        found = previews.newest(store(), job.job_id)
        return found.base64 if found else None


def held_requests() -> HeldRequests:
    """The calls of the present caller."""
    return HeldRequests(store(), auth.caller().key_id)


def looked_at(held_request: HeldRequest) -> Open:
    jobs = (queries.find(store(), job_id) for job_id in held_request.job_ids)
    return Open(held_request, [job for job in jobs if job is not None])


def open_calls() -> list[Open]:
    """The caller's calls that are not over, oldest first, those that have begun before those that wait."""
    own = held_requests()
    found = [looked_at(held_request) for held_request in own.all()]
    for one in found:
        if one.is_over:
            own.unlist(one.held_request)
    live = [one for one in found if not one.is_over]
    return sorted(live, key=lambda one: not one.has_begun)


def state(*, with_picture: bool) -> dict[str, Any]:
    """The answer of ``progress``."""
    live = open_calls()
    one = live[0] if live else None
    job = (one.running or next((job for job in one.jobs if not job.state.is_terminal), None)) if one else None
    began = datetime.fromtimestamp(job.created_at_ms / 1000).astimezone().strftime("%Y%m%d%H%M%S") if job else "0"
    return {
        "progress": one.progress if one else 0.0,
        "eta_relative": one.eta_s if one else 0.0,
        "state": {
            "skipped": False, "interrupted": False, "stopping_generation": False,
            "job": one.held_request.request_id if one else "", "job_count": len(one.held_request.job_ids) if one else 0,
            "job_timestamp": began, "job_no": one.done if one else 0,
            "sampling_step": (job.step or 0) if job else 0, "sampling_steps": job.steps if job else 0,
        },
        "current_image": one.picture() if one and with_picture else None,
        "textinfo": "Waiting..." if one and not one.has_begun else None,
    }  # fmt: skip


def interrupt() -> None:
    """Stop the batches of the calls that run; calls that wait go on waiting."""
    for one in open_calls():
        if one.has_begun:
            for job in reversed(one.jobs):  # what waits first, or it would begin when the running one is stopped
                _stop(one.held_request, job)


def skip() -> None:
    """Stop the batch that runs."""
    running = next((one for one in open_calls() if one.running), None)
    if running is not None and running.running is not None:
        _stop(running.held_request, running.running)


def _stop(held_request: HeldRequest, job: Job) -> None:
    if job.state.is_terminal or job.state is JobState.DELIVERING:
        return  # it is complete; only its file is being written
    preview = _last_picture(job)
    picture, media_type = (preview.base64, preview.media_type) if preview else ("", "")
    held_requests().interrupt(held_request, job.job_id, picture, media_type)
    dispatcher().cancel(job.job_id)


def _last_picture(job: Job) -> previews.Preview | None:
    """The newest preview; where nobody has asked for any, the run's next step may still make one."""
    found = previews.newest(store(), job.job_id)
    if found is None and job.state is JobState.RUNNING:
        previews.ask(store(), job.job_id)
        until = time.monotonic() + PREVIEW_WAIT_S
        while found is None and time.monotonic() < until:
            time.sleep(0.05)
            found = previews.newest(store(), job.job_id)
    return found


def task(sent: dict[str, Any]) -> dict[str, Any]:
    """The answer of ``internal/progress``: how far the call of this id is."""
    request_id = str(sent.get("id_task") or "")
    held_request = held_requests().find(request_id)
    one = looked_at(held_request) if held_request else None
    if one is None or one.is_over or not one.jobs:
        return _task(completed=one is not None and one.is_over)
    if not one.has_begun:
        waiting = [other.held_request.request_id for other in open_calls() if not other.has_begun]
        place = f"In queue: {waiting.index(request_id) + 1}/{len(waiting)}" if request_id in waiting else "Waiting..."
        return _task(queued=True, textinfo=place)
    job = one.running
    step = (job.preview_step if job else None) or -1
    shown = step if step != sent.get("id_live_preview") and sent.get("live_preview", True) else -1
    picture = one.picture() if sent.get("live_preview", True) else None
    return _task(
        active=True, progress=one.progress, eta=one.eta_s, id_live_preview=step,
        live_preview=f"data:image/jpeg;base64,{picture}" if picture and shown >= 0 else None,
    )  # fmt: skip


def _task(**values: Any) -> dict[str, Any]:
    return {
        "active": False, "queued": False, "completed": False, "progress": None, "eta": None, "live_preview": None,
        "id_live_preview": -1, "textinfo": None, **values,
    }  # fmt: skip


def pending() -> dict[str, Any]:
    """The answer of ``internal/pending-tasks``."""
    ids = [one.held_request.request_id for one in open_calls() if not one.has_begun]
    return {"size": len(ids), "tasks": ids}
