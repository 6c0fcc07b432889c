"""A job as a prediction of Replicate's API: in responses, event streams and webhooks."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jobs.forecast import OVER
from jobs.job_view import iso, job_path, job_view
from jobs.objects.base import ObjectStore
from jobs.outbound.signed_links import LinkSigner, address
from jobs.record import Job
from jobs.requests.inputs import FILES
from jobs.states import JobState

#: Wire protocol of the jobs whose webhooks send predictions.
PROTOCOL = "replicate"
PREDICTIONS_PATH = "/v1/predictions"
#: Owner of a model whose client named none.
DEFAULT_OWNER = "framemill"
#: State → the word of a prediction. Clients wait for the last three only: ``aborted`` would be waited for without end.
STATUS: dict[JobState, str] = {
    JobState.QUEUED: "starting",
    JobState.RUNNING: "processing",
    JobState.PAUSED: "starting",
    JobState.DELIVERING: "processing",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "canceled",
    JobState.EXPIRED: "failed",
}
#: Keys of what a record keeps of the request: the owner that the client named, whether outputs are sent within the
#: prediction, and whether the client set a time limit.
OWNER, AS_DATA, HAS_DEADLINE = "owner", "output_data_uri", "cancel_after"
#: Largest output that is sent within a prediction, bytes.
MAX_DATA_BYTES = 1024 * 1024
#: Field of a request → its name in the input.
INPUT_NAMES = {
    "prompt": "prompt", "negative_prompt": "negative_prompt", "seed": "seed", "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale", "width": "width", "height": "height", "num_images": "num_outputs",
    "scheduler": "scheduler", "frames": "num_frames", "fps": "fps", "strength": "prompt_strength",
    "output_format": "output_format", "output_quality": "output_quality", "clip_skip": "clip_skip",
    "quality": "quality",
}  # fmt: skip
#: Width of a progress bar, characters.
_BAR_CHARS = 10


def version_of(model: str) -> str:
    """Return the id of the only version of a model."""
    return hashlib.sha256(f"framemill model {model}".encode()).hexdigest()


def prediction_view(job: Job, objects: ObjectStore, signer: LinkSigner | None, base_url: str) -> dict[str, Any]:
    """Return a job as JSON.

    Args:
        job: the job.
        objects: where its outputs are stored.
        signer: signs links for the reader; None on a server without keys.
        base_url: address of this server.
    """
    path = f"{PREDICTIONS_PATH}/{job.job_id}"
    error = job.error or {}
    status = status_of(job)
    return {
        "id": job.job_id,
        "model": f"{job.sent.get(OWNER) or DEFAULT_OWNER}/{job.request.model}",
        "version": version_of(job.request.model),
        "status": status,
        "input": _input(job, base_url),
        "output": output_of(job, objects, signer, base_url),
        "error": str(error.get("message") or f"the job is {job.state}") if status == "failed" else None,
        "logs": logs_of(job),
        "metrics": _metrics(job),
        "created_at": iso(job.created_at_ms),
        "started_at": iso(job.started_at_ms),
        "completed_at": iso(job.finished_at_ms),
        "data_removed": job.removed_at_ms is not None,
        "source": "api",
        "urls": {
            "get": base_url + path,
            "cancel": f"{base_url}{path}/cancel",
            "stream": address(f"{path}/stream", {}, signer, base_url),
        },
    }


def status_of(job: Job) -> str:
    """Return the word for the state of a job. One that outlives the client's own time limit was stopped by it."""
    if job.sent.get(HAS_DEADLINE) and (job.state is JobState.EXPIRED or (job.error or {}).get("code") == "run_timeout"):
        return "canceled"
    return STATUS[job.state]


def output_of(job: Job, objects: ObjectStore, signer: LinkSigner | None, base_url: str) -> list[str] | str | None:
    """Return the address of a video, or those of the images; None before they exist and when they were removed."""
    if job.state is not JobState.SUCCEEDED or job.removed_at_ms:
        return None
    urls = [str(output["url"]) for output in job_view(job, OVER, objects, signer, base_url)["outputs"]]
    if job.sent.get(AS_DATA):
        urls = [
            _data_uri(output.key, output.media_type, objects) if output.bytes <= MAX_DATA_BYTES else url
            for output, url in zip(job.outputs, urls, strict=True)
        ]
    is_video = any(output.media_type.startswith("video/") or output.frames > 1 for output in job.outputs)
    return urls[0] if is_video and urls else urls


def _data_uri(key: str, media_type: str, objects: ObjectStore) -> str:
    return f"data:{media_type};base64,{base64.b64encode(b''.join(objects.read(key))).decode()}"


def _input(job: Job, base_url: str) -> dict[str, Any]:
    """Return the input with all values that were used; images are links."""
    used, is_video = job.request.shown(), getattr(job.request, "frames", 1) > 1
    for name in ("num_images",) if is_video else ("frames", "fps"):
        used.pop(name, None)
    values = {sent: used[name] for name, sent in INPUT_NAMES.items() if used.get(name) not in (None, "")}
    path = f"{job_path(job.job_id, base_url)}/inputs"
    given = job.request.named_inputs
    links: dict[str, Any] = {name: f"{path}/{name}" for name in FILES if name in given}
    if images := [f"{path}/{name}" for name in given if name.startswith("images-")]:
        links["images"] = images
    return {**values, **links}


def logs_of(job: Job) -> str:
    """Return what the log says so far; its last line is a progress bar, which clients read."""
    lines = [f"Warning: {warning}" for warning in job.warnings]
    seed = getattr(job.request, "seed", None)
    if seed is not None:
        lines.append(f"Using seed: {seed}")
    done = job.steps if job.state is JobState.SUCCEEDED else job.step or 0
    if job.steps and (done or job.state is JobState.RUNNING):
        lines.append(progress_bar(done, job.steps))
    return "".join(f"{line}\n" for line in lines)


def progress_bar(done: int, steps: int) -> str:
    """Return a progress bar as tqdm draws it."""
    filled = _BAR_CHARS * done // steps
    return f"{100 * done // steps:3d}%|{'█' * filled}{' ' * (_BAR_CHARS - filled)}| {done}/{steps}"


def _metrics(job: Job) -> dict[str, float]:
    metrics = {}
    if job.started_at_ms and job.computed_at_ms:
        metrics["predict_time"] = (job.computed_at_ms - job.started_at_ms) / 1000
    if job.finished_at_ms:
        metrics["total_time"] = (job.finished_at_ms - job.created_at_ms) / 1000
    return metrics
