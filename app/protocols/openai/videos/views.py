"""From jobs to videos as OpenAI's API shows them."""

from __future__ import annotations

from typing import Any

from app.protocols.openai.wire.states import VIDEO_WORDS, error_of
from jobs.forecast import Forecast
from jobs.record import Job
from jobs.states import JobState

#: Key of the id of the video that another one is a remix of, among the fields of a job that are shown again.
REMIXED_FROM = "remixed_from_video_id"


def video_view(job: Job, forecast: Forecast) -> dict[str, Any]:
    """Return a video."""
    width, height = _size(job)
    return {
        "id": job.job_id,
        "object": "video",
        "model": job.request.model,
        "status": VIDEO_WORDS[job.state],
        "progress": job.percent,
        "created_at": job.created_at_ms // 1000,
        "completed_at": _seconds(job.finished_at_ms) if job.state is JobState.SUCCEEDED else None,
        "expires_at": _seconds(job.expires_at_ms),
        "size": f"{width}x{height}",
        "seconds": f"{job.request.frames / job.request.fps if job.request.fps else 0:.3f}".rstrip("0").rstrip("."),
        "prompt": job.request.prompt,
        "remixed_from_video_id": job.sent.get(REMIXED_FROM),
        "error": error_of(job),
        "seed": job.request.seed,
        "position": forecast.position,
        "eta_s": None if forecast.eta_s is None else round(forecast.eta_s, 2),
        "warnings": job.warnings,
    }


def poll_after_ms(forecast: Forecast) -> int:
    """Return when a client should look again: soon at the end, rarely for a job that takes long."""
    return 1000 if forecast.eta_s is None else int(min(5000, max(250, forecast.eta_s * 100)))


def _size(job: Job) -> tuple[int, int]:
    output = job.outputs[0] if job.outputs else None
    return (output.width, output.height) if output else job.request.output_size


def _seconds(time_ms: int | None) -> int | None:
    return None if time_ms is None else time_ms // 1000
