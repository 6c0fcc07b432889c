"""A job as everybody is shown it: in answers, events and webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jobs.forecast import Forecast
from jobs.objects.base import ObjectStore
from jobs.record import Job, Output
from jobs.states import JobState

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


def links(job_id: str, base_url: str = "") -> dict[str, str]:
    base = f"{base_url}/v1/tasks/{job_id}"
    more = {name: f"{base}/{name}" for name in ("status", "result", "events", "preview")}
    return {"self": base, **more, "cancel": base}


def preview_view(job_id: str, step: int | None, base_url: str = "") -> dict[str, Any] | None:
    """The newest preview: its step, and its address, which changes with it so that pages show the new one."""
    return None if step is None else {"step": step, "url": f"{base_url}/v1/tasks/{job_id}/preview?step={step}"}


def job_view(job: Job, forecast: Forecast, objects: ObjectStore, base_url: str = "") -> dict[str, Any]:
    """The status of a job. ``base_url``: put before links to this server, for readers who did not call it."""
    return {
        "task_id": job.job_id,
        "state": job.state,
        "status": STATUS_WORDS[job.state],
        "model": job.request.model,
        "kind": job.request.kind,
        "stage": job.stage,
        "stage_percent": job.stage_percent,
        "step": job.step or 0,
        "steps": job.steps,
        "percent": job.percent,
        "preview": preview_view(job.job_id, job.preview_step, base_url),
        "position": forecast.position,
        "eta_s": None if forecast.eta_s is None else round(forecast.eta_s, 2),
        "waiting_for": forecast.waiting_for,
        "class": job.job_class,
        "priority": job.priority,
        "slot": job.slot,
        "device": job.device,
        "attempt": job.starts,
        "error": job.error,
        "command": job.command,
        "report": job.report,
        "warnings": job.warnings,
        "request": job.request.shown(),
        "created_at": iso(job.created_at_ms),
        "started_at": iso(job.started_at_ms),
        "computed_at": iso(job.computed_at_ms),
        "finished_at": iso(job.finished_at_ms),
        "retention": job.retention,
        "expires_at": iso(job.expires_at_ms),
        "outputs": [
            _output_view(f"{base_url}/v1/tasks/{job.job_id}", n, output, objects) | job.request.seeds(n)
            for n, output in enumerate(job.outputs)
        ],
        "links": links(job.job_id, base_url),
    }


def _output_view(base: str, index: int, output: Output, objects: ObjectStore) -> dict[str, Any]:
    def url(route: str, file: Output | None) -> str | None:
        return objects.url(file.key) or f"{base}/{route}?index={index}" if file else None

    names = ("media_type", "bytes", "sha256", "width", "height", "frames", "fps", "moderated")
    return {
        "index": index,
        "url": url("result", output),
        **{name: getattr(output, name) for name in names},
        "thumbnail_url": url("thumbnail", output.thumbnail),
        "poster_url": url("poster", output.poster),
    }


def iso(time_ms: int | None) -> str | None:
    """Milliseconds since 1970 as ISO 8601 in UTC."""
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
