"""A job as the native API shows it: in responses, events and webhooks."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jobs.forecast import Forecast
from jobs.objects.base import ObjectStore
from jobs.outbound.signed_links import SIGNED_QUERY, LinkSigner, address
from jobs.record import Job, Output
from jobs.record_fields import shown

#: Path of the collection of jobs.
JOBS_PATH = "/v1/jobs"


def job_path(job_id: str, base_url: str = "") -> str:
    """Return the address of a job."""
    return f"{base_url}{JOBS_PATH}/{job_id}"


def links(job_id: str, signer: LinkSigner | None, base_url: str = "") -> dict[str, str]:
    """Return the addresses of a job's resources by name. Those that a page shows are signed."""
    path = job_path(job_id)
    shown_by_pages = {name: address(f"{path}/{name}", {}, signer, base_url) for name in ("result", "events", "preview")}
    return {"self": base_url + path, **shown_by_pages, "cancel": f"{base_url}{path}/cancel"}


def preview_view(job_id: str, step: int | None, signer: LinkSigner | None, base_url: str = "") -> dict[str, Any] | None:
    """Return the newest preview: its step and its address, which changes with the step so that pages reload it."""
    if step is None:
        return None
    return {"step": step, "url": address(f"{job_path(job_id)}/preview", {"step": step}, signer, base_url)}


def job_view(
    job: Job, forecast: Forecast, objects: ObjectStore, signer: LinkSigner | None, base_url: str = ""
) -> dict[str, Any]:
    """Return a job as JSON.

    Args:
        job: the job.
        forecast: its position and the seconds left.
        objects: where its outputs are stored.
        signer: signs links for the reader; None on a server without keys.
        base_url: what links to this server begin with: a path prefix for callers, an address for others (webhooks).
    """
    return {
        "id": job.job_id,
        "state": job.state,
        "pausing": job.is_pausing,
        "model": job.request.model,
        "kind": job.request.kind,
        "progress": {
            "stage": job.stage,
            "stage_percent": job.stage_percent,
            "step": job.step or 0,
            "steps": job.steps,
            "percent": job.percent,
        },
        "position": forecast.position,
        "eta_s": None if forecast.eta_s is None else round(forecast.eta_s, 2),
        "waiting_for": forecast.waiting_for,
        **shown(job),
        "attempt": job.starts,
        "warnings": job.all_warnings,
        "request": job.request.shown(),
        "preview": preview_view(job.job_id, job.preview_step, signer, base_url),
        "created_at": iso(job.created_at_ms),
        "not_before": iso(job.not_before_ms),
        "started_at": iso(job.started_at_ms),
        "computed_at": iso(job.computed_at_ms),
        "finished_at": iso(job.finished_at_ms),
        "resume_by": iso(job.resume_by_ms),
        "expires_at": iso(job.expires_at_ms),
        "outputs": [
            _output_view(job.job_id, index, output, objects, signer, base_url) | job.request.seeds(index)
            for index, output in enumerate(job.outputs)
        ],
        "links": links(job.job_id, signer, base_url),
    }


def _output_view(
    job_id: str, index: int, output: Output, objects: ObjectStore, signer: LinkSigner | None, base_url: str
) -> dict[str, Any]:
    def url(route: str, file: Output | None) -> str | None:
        if file is None:
            return None
        suffix = file.key.rpartition(".")[2]
        name = f"{job_id}-{index}.{suffix}" if file is output else f"{job_id}-{index}-{route}.{suffix}"
        link = objects.url(file.key, file.media_type, name)
        return link or address(f"{job_path(job_id)}/{route}", {SIGNED_QUERY: index}, signer, base_url)

    names = ("media_type", "bytes", "sha256", "width", "height", "frames", "fps", "moderated")
    return {
        "index": index,
        "url": url("result", output),
        **{name: getattr(output, name) for name in names},
        "has_audio": output.audio_sample_rate_hz > 0,
        "audio_sample_rate_hz": output.audio_sample_rate_hz or None,
        "thumbnail_url": url("thumbnail", output.thumbnail),
        "poster_url": url("poster", output.poster),
    }


def iso(time_ms: int | None) -> str | None:
    """Return milliseconds since 1970 as ISO 8601 in UTC."""
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
