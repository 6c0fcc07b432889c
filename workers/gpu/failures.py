"""Error codes and messages that callers see when a run fails."""

from __future__ import annotations

import re

from jobs.errors import ExecutionError, FramemillError, OutOfMemory
from jobs.models.spec import ModelSpec
from jobs.process.log_lines import without_queries
from jobs.requests.generation import GenerationRequest
from workers.pipelines.device_errors import is_out_of_memory

#: File names in a library's message.
_PATH = re.compile(r"(/[^\s/'\"]+){2,}")
_MAX_CAUSE_CHARS = 1000
#: Offload option of a model → the next one, which needs less memory on the device.
_NEXT_OFFLOAD = {"none": "model", "model": "group", "group": "sequential"}


def explain(exc: Exception) -> tuple[str, str]:
    """Return the error code and message for the caller. Of an unknown exception only the type; the log has the rest."""
    if isinstance(exc, FramemillError):
        return exc.code, exc.message
    if is_out_of_memory(exc):
        return OutOfMemory.code, "the device has too little memory for this request"
    message = f"the model raised {type(exc).__name__}"
    if isinstance(exc, ValueError):  # pipelines refuse arguments with it, and say why
        message += ": " + _PATH.sub("…", str(exc).partition("\n")[0])[:300]
    return ExecutionError.code, message


def cause_of(exc: Exception) -> str:
    """Return what a library said, for admins: type and text of the exception behind an error; '' if there is none."""
    behind = exc.__cause__ if isinstance(exc, FramemillError) else exc
    return without_queries(f"{type(behind).__name__}: {behind}")[:_MAX_CAUSE_CHARS] if behind else ""


def out_of_memory_alone(request: GenerationRequest, spec: ModelSpec) -> OutOfMemory:
    """Return the error of a job that had the device to itself and still found too little memory."""
    width, height = request.output_size
    size = f"{width} x {height} px" + (f", {request.frames} frames" if request.kind.is_video else "")
    advice = "ask for a smaller size" + (" or fewer frames" if request.kind.is_video else "")
    if offload := _NEXT_OFFLOAD.get(spec.load.offload):
        advice += f', or let the operator set offload = "{offload}" for the model'
    if not spec.load.vae_tiling:
        advice += " or vae_tiling"
    return OutOfMemory(f"the device has too little memory for {size}, with no other model in it: {advice}")
