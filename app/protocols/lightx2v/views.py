"""LightX2V's responses, made from jobs.

They have the keys of all of LightX2V's versions, and further ones that Framemill adds: state, progress, position,
seconds left, warnings and the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from flask import Response

from app.protocols.lightx2v.states import OLD_PROTOCOL, PROTOCOL, word
from jobs.forecast import Forecast
from jobs.formats import FORMATS
from jobs.record import Job
from jobs.states import JobState
from jobs.store.jobs import Capacity


def local(time_ms: float | None) -> str | None:
    """Return milliseconds since 1970 as LightX2V writes times: this server's local time, without a zone."""
    if time_ms is None:
        return None
    return datetime.fromtimestamp(time_ms / 1000).astimezone().replace(tzinfo=None).isoformat(timespec="microseconds")


def file_path(job: Job) -> str:
    """Return the path of a job's output below ``/v1/files/download/``."""
    request = job.request
    name = request.output_format or ("mp4" if request.kind.is_video else "png")
    return job.path or f"{job.job_id}.{FORMATS[name].suffix}"


def set_file_name(response: Response, job: Job) -> None:
    """Name a download as the client named the output (RFC 6266: beyond ASCII as ``filename*``)."""
    name = PurePosixPath(file_path(job)).name
    names = {"filename": name}
    if not name.isascii():
        names = {"filename": name.encode("ascii", "replace").decode().replace("?", "_")}
        names["filename*"] = f"UTF-8''{quote(name, safe='')}"
    response.headers.set("Content-Disposition", "attachment", **names)


def both_paths(job: Job) -> dict[str, str]:
    """Return the path under its old and its new key."""
    return {"save_video_path": file_path(job), "save_result_path": file_path(job)}


def created_task(job: Job, forecast: Forecast, *, single: bool) -> dict[str, Any]:
    """Return the response to a new task."""
    return {
        "task_id": job.job_id,
        "task_status": "processing" if single else "pending",
        **both_paths(job),
        "status": word(job.state, job.protocol, single=single),
        "state": job.state,
        "model": job.request.model,
        **_place(forecast),
        "warnings": job.all_warnings,
    }


def uploaded_task(job: Job, url: str) -> dict[str, Any]:
    """Return the response to a task whose image was uploaded to a link."""
    return {
        "task_id": job.job_id,
        "task_status": "completed",
        "uploaded_to_presigned_url": True,
        "presigned_url": url,
        "warnings": job.all_warnings,
    }


def _place(forecast: Forecast) -> dict[str, Any]:
    eta_s = None if forecast.eta_s is None else round(forecast.eta_s, 2)
    return {"position": forecast.position, "eta_s": eta_s, "waiting_for": forecast.waiting_for}


def times(job: Job) -> dict[str, Any]:
    """Return start and end. ``completion_time`` is set for tasks that succeeded only, as in older versions."""
    succeeded = job.state is JobState.SUCCEEDED
    return {
        "start_time": local(job.started_at_ms or job.created_at_ms),
        "end_time": local(job.finished_at_ms),
        "completion_time": local(job.finished_at_ms) if succeeded else None,
    }


def failure(job: Job) -> dict[str, Any]:
    """Return why the task did not succeed, as a text and as a code; null and '' if there is no failure."""
    if job.state is JobState.CANCELLED:
        return {"error": "Task cancelled by user", "error_type": "cancelled"}
    error = job.error or {}
    return {"error": error.get("message"), "error_type": error.get("code", "")}


def task_summary(job: Job, *, single: bool) -> dict[str, Any]:
    """Return what the status and the list of tasks have in common."""
    return {
        "task_id": job.job_id,
        "status": word(job.state, job.protocol, single=single),
        "success": job.state is JobState.SUCCEEDED,
        **times(job),
        **failure(job),
        **both_paths(job),
        "state": job.state,
        "model": job.request.model,
    }


def task_status(job: Job, forecast: Forecast, *, single: bool) -> dict[str, Any]:
    """Return the status of a task."""
    return {
        **task_summary(job, single=single),
        "stage": job.stage,
        "step": job.step or 0,
        "steps": job.steps,
        "percent": job.percent,
        **_place(forecast),
        "slot": job.slot,
        "device": job.device,
        "warnings": job.all_warnings,
        "request": job.request.shown(),
    }


def request_fields(job: Job) -> dict[str, Any]:
    """Return the request with LightX2V's field names."""
    request = job.request
    # What other protocols keep of their requests is not for this one's clients.
    sent = job.sent if job.protocol in (PROTOCOL, OLD_PROTOCOL) else {}
    return {
        "task_id": job.job_id, "prompt": request.prompt, "use_prompt_enhancer": False,
        "negative_prompt": request.negative_prompt, "image_path": _input_name(request.image), "num_fragments": 1,
        **both_paths(job), "infer_steps": request.steps, "target_video_length": request.frames, "seed": request.seed,
        "audio_path": _input_name(request.audio),
        "video_duration": round(request.frames / request.fps) if request.fps else 0,
        "target_fps": request.fps, "target_shape": list(reversed(request.output_size)), **sent,
    }  # fmt: skip


def _input_name(key: str | None) -> str:
    """Return the name of an input file, which is made of its content; '' without one."""
    digest, _, ending = (key or "").rpartition("/")[2].partition(".")
    return f"{digest}.{ending.rpartition('.')[2]}" if key else ""


def listed_task(job: Job, *, single: bool) -> dict[str, Any]:
    """Return one value of the list."""
    view = {**task_summary(job, single=single), "message": request_fields(job)}
    if single and job.state is not JobState.SUCCEEDED:
        del view["completion_time"]
    return view


def service_view(
    capacity: Capacity, active: list[str], current: Job | None, counts: Mapping[str, int], queue_size: int
) -> dict[str, Any]:
    """Return the state of the service.

    Args:
        capacity: what the service works on.
        active: ids of its tasks that the caller may see.
        current: the first of them.
        counts: jobs by state.
        queue_size: most tasks that may wait.
    """
    current_id = active[0] if active else None
    return {
        "service_status": "idle" if capacity.spare > 0 else "busy",
        "task_id": current_id,
        "start_time": local(current.started_at_ms or current.created_at_ms) if current else None,
        "current_task": current_id,
        "active_tasks": active,
        "pending_tasks": capacity.waiting,
        "queue_size": queue_size,
        "total_tasks": sum(counts.values()),
        "completed_tasks": counts[JobState.SUCCEEDED],
        "failed_tasks": counts[JobState.FAILED] + counts[JobState.EXPIRED],
    }


def queue_counters(active: list[str], waiting: int, queue_size: int) -> dict[str, Any]:
    """Return the state of the queue."""
    return {
        "is_processing": bool(active),
        "current_task": active[0] if active else None,
        "pending_count": waiting,
        "active_count": len(active) + waiting,
        "queue_size": queue_size,
        "queue_available": max(0, queue_size - waiting),
    }


def cancelled_task(job: Job, *, changed: bool) -> dict[str, Any]:
    """Return the response to a stop of one task; ``changed``: whether it stopped anything."""
    return {
        "task_id": job.job_id,
        "state": job.state,
        "changed": changed,
        "stop_status": "success" if changed else "do_nothing",
        "reason": "Task stopped successfully." if changed else "The task has already finished.",
    }


def stopped_tasks(ids: list[str]) -> dict[str, Any]:
    """Return the response to a stop of the running tasks."""
    return {
        "stop_status": "success" if ids else "do_nothing",
        "reason": "Task stopped successfully." if ids else "No running task found.",
        "cancelled": ids,
    }


def all_tasks_stopped(ids: list[str]) -> dict[str, Any]:
    """Return the response to a stop of all tasks, which succeeds also if there was none."""
    return {"stop_status": "success", "reason": "All tasks stopped successfully.", "cancelled": ids}
