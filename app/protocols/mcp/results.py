"""From a job to the result of a tool."""

from __future__ import annotations

from typing import Any

from app import errors
from app.access import addresses, auth
from app.extensions import objects
from app.protocols.mcp.previews import image_blocks
from app.submit import forecast_of
from jobs.errors import FramemillError, InvalidRequest, QueueFull, Unavailable
from jobs.forecast import Forecast
from jobs.job_view import iso, job_view
from jobs.record import Job
from jobs.states import Interrupt, JobState
from jobs.strict_json import dumps

_OUTPUT = ("index", "url", "media_type", "bytes", "width", "height", "frames", "fps", "seed")
_STAGES = {"loading": "loading the model", "denoising": "denoising", "decoding": "decoding", "delivering": "saving"}


def job_result(job: Job, forecast: Forecast | None = None, *, is_outcome: bool = False) -> dict[str, Any]:
    """Return the result of a tool that returns a job, with its pictures and links to its files.

    Args:
        job: the job.
        forecast: its position; looked up unless it is given.
        is_outcome: whether the tool was to make the outputs of the job: then a job without any is an error.
    """
    shown = _structured(job, forecast or forecast_of(job))
    content: list[dict[str, Any]] = [{"type": "text", "text": dumps(shown)}]
    result: dict[str, Any] = {"content": content, "structuredContent": shown}
    if job.state is JobState.SUCCEEDED and not job.removed_at_ms:
        content += image_blocks(job)
        content += [_link(job, output) for output in shown["outputs"]]
    elif is_outcome and job.state.is_terminal:
        result["isError"] = True
    return result


def value_result(value: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a tool that returns a value."""
    return {"content": [{"type": "text", "text": dumps(value)}], "structuredContent": value}


def error_result(exc: FramemillError) -> dict[str, Any]:
    """Return the result of a tool that refuses: what is wrong, the rule, and what to do."""
    if isinstance(exc, InvalidRequest):
        text = "\n".join(problem.message for problem in exc.problems)
    elif isinstance(exc, QueueFull):
        text = f"{exc.message}; try again in {exc.retry_after_s} s"
    elif isinstance(exc, Unavailable):
        text = f"{exc.message}; try again in {errors.UNAVAILABLE_RETRY_AFTER_S} s"
    else:
        text = exc.message
    return {"content": [{"type": "text", "text": f"{exc.code}: {text}"}], "isError": True}


def progress_text(job: Job, forecast: Forecast) -> str:
    """Return in words what a job does."""
    left = "" if forecast.eta_s is None else f", about {max(1, round(forecast.eta_s))} s left"
    if job.state.is_terminal:
        return str(job.state)
    if job.state is JobState.PAUSED:
        return f"paused at step {job.step} of {job.steps}" if job.step else "paused"
    if job.state is JobState.QUEUED and forecast.waiting_for:
        return f"waits for {forecast.waiting_for}"
    if job.state is JobState.QUEUED and forecast.position:
        return f"waits at position {forecast.position}{left}"
    if job.state is JobState.DELIVERING:
        return _STAGES["delivering"]
    if job.stage == "denoising":
        return f"step {job.step or 0} of {job.steps}{left}"
    stage = _STAGES.get(job.stage or "", "starting")
    return f"{stage}, {job.stage_percent} %" if job.stage_percent is not None else stage


def _structured(job: Job, forecast: Forecast) -> dict[str, Any]:
    view = job_view(job, forecast, objects(), auth.signer(), addresses.base_url())
    outputs = [] if job.removed_at_ms else view["outputs"]
    return {
        "job_id": job.job_id,
        "state": job.state,
        "model": view["model"],
        "kind": view["kind"],
        "stage": job.stage,
        "step": job.step or 0,
        "steps": job.steps,
        "percent": job.percent,
        "position": forecast.position,
        "seconds_left": view["eta_s"],
        "waiting_for": forecast.waiting_for,
        "outputs": [{name: output[name] for name in _OUTPUT if name in output} for output in outputs],
        "error": _failure(job),
        "warnings": job.warnings,
        "next": _advice(job, forecast),
    }


def _failure(job: Job) -> dict[str, str] | None:
    """Return why a job that is over has no outputs; None for others."""
    if job.error:
        return {name: str(job.error.get(name, "")) for name in ("code", "message")}
    if job.state is JobState.CANCELLED:
        return {"code": "cancelled", "message": "the job was stopped"}
    if job.state is JobState.EXPIRED:
        return {"code": "expired", "message": "the job did not start in time"}
    return None


def _advice(job: Job, forecast: Forecast) -> str | None:
    """Return what the caller may do next; None if there is nothing to do."""
    if job.state is JobState.SUCCEEDED:
        if job.removed_at_ms:
            return f"The files were removed at {iso(job.removed_at_ms)}. Make them again with the same arguments."
        return "To change a picture, call edit_image with its job_id or url as image."
    if job.state.is_terminal:
        return None
    if job.state is JobState.PAUSED:
        return (
            f"The job is paused and goes on when somebody resumes it; resume_job with job_id {job.job_id} does. Do not "
            "wait for it, and do not generate again."
        )
    if job.interrupt == Interrupt.PAUSE:
        return f"The job will be paused after its present step; resume_job with job_id {job.job_id} lets it go on."
    left = "" if forecast.eta_s is None else f", in about {max(1, round(forecast.eta_s))} s"
    return (
        f"The job is not done yet: {progress_text(job, forecast)}. Call get_job with job_id {job.job_id}{left}; it "
        "waits for the result. Do not generate again."
    )


def _link(job: Job, output: dict[str, Any]) -> dict[str, Any]:
    """Return the link to the whole file of an output."""
    is_video = output["frames"] > 1 or output["media_type"].startswith("video/")
    kind = f"video of {output['frames']} frames" if is_video else "image"
    return {
        "type": "resource_link",
        "uri": output["url"],
        "name": f"{job.job_id}-{output['index']}",
        "description": f"The whole file: {kind}, {output['width']} x {output['height']} pixels",
        "mimeType": output["media_type"],
        "size": output["bytes"],
    }
