"""What LightX2V's clients read, computed from the native status answer or from a record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from app.protocols.lightx2v.states import word
from jobs.formats import FORMATS
from jobs.record import Job
from jobs.states import JobState


def local(time_ms: float | None) -> str | None:
    """Milliseconds since 1970 as LightX2V writes times: this server's local time, without a zone."""
    if time_ms is None:
        return None
    return datetime.fromtimestamp(time_ms / 1000).astimezone().replace(tzinfo=None).isoformat(timespec="microseconds")


def file_path(job: Job) -> str:
    """The name of a job's output below ``/v1/files/download/``."""
    request = job.request
    name = request.output_format or ("mp4" if request.kind.is_video else "png")
    return job.path or f"{job.job_id}.{FORMATS[name].suffix}"


def both_paths(job: Job) -> dict[str, str]:
    """The path under its old and its new name."""
    return {"save_video_path": file_path(job), "save_result_path": file_path(job)}


def created(job: Job, *, single: bool) -> dict[str, Any]:
    """The answer to a new task."""
    return {"task_id": job.job_id, "task_status": "processing" if single else "pending", **both_paths(job)}


def times(job: Job) -> dict[str, Any]:
    """``completion_time`` only of what succeeded, as in its older versions."""
    succeeded = job.state is JobState.SUCCEEDED
    return {
        "start_time": local(job.started_at_ms or job.created_at_ms),
        "end_time": local(job.finished_at_ms),
        "completion_time": local(job.finished_at_ms) if succeeded else None,
    }


def failure(job: Job) -> dict[str, Any]:
    """Why it did not succeed, as text and as a code; null if it did or may yet."""
    if job.state is JobState.CANCELLED:
        return {"error": "Task cancelled by user", "error_type": "cancelled"}
    error = job.error or {}
    return {"error": error.get("message"), "error_type": error.get("code")}


def task(job: Job, *, single: bool) -> dict[str, Any]:
    """The status of a task."""
    return {
        "task_id": job.job_id,
        "status": word(job.state, job.protocol, single=single),
        "success": job.state is JobState.SUCCEEDED,
        **times(job),
        **failure(job),
        **both_paths(job),
    }


def message(job: Job) -> dict[str, Any]:
    """The request in LightX2V's words."""
    request = job.request
    return {
        "task_id": job.job_id, "prompt": request.prompt, "use_prompt_enhancer": False,
        "negative_prompt": request.negative_prompt, "image_path": "", "num_fragments": 1,
        **both_paths(job), "infer_steps": request.steps, "target_video_length": request.frames, "seed": request.seed,
        "audio_path": "", "video_duration": round(request.frames / request.fps) if request.fps else 0,
        "target_fps": request.fps, "target_shape": list(reversed(request.output_size)),
    }  # fmt: skip


def listed(job: Job, *, single: bool) -> dict[str, Any]:
    """One value of the list."""
    view = {**task(job, single=single), "message": message(job), "state": job.state, "model": job.request.model}
    if single and job.state is not JobState.SUCCEEDED:
        del view["completion_time"]
    return view


def service(
    native: Mapping[str, Any], current: Job | None, queue_size: int, *, single: bool
) -> dict[str, Any]:  # fmt: skip
    """The service's state with LightX2V's further keys."""
    counts = native["counts"]
    return {
        **native,
        "start_time": local(current.started_at_ms or current.created_at_ms) if current else None,
        "queue_size": 0 if single else queue_size,
        "total_tasks": sum(counts.values()),
        "completed_tasks": counts["succeeded"],
        "failed_tasks": counts["failed"] + counts["expired"],
    }


def queue(active: list[str], waiting: int, queue_size: int) -> dict[str, Any]:
    """The answer of the queue's status route."""
    return {
        "is_processing": bool(active),
        "current_task": active[0] if active else None,
        "pending_count": waiting,
        "active_count": len(active) + waiting,
        "queue_size": queue_size,
        "queue_available": max(0, queue_size - waiting),
    }


def stopped(ids: list[str], *, everything: bool) -> dict[str, Any]:
    """The answer to a stop of what runs (``everything``: of what waits, too)."""
    if everything:
        return {"stop_status": "success", "reason": "All tasks stopped successfully.", "cancelled": ids}
    return {
        "stop_status": "success" if ids else "do_nothing",
        "reason": "Task stopped successfully." if ids else "No running task found.",
        "cancelled": ids,
    }
