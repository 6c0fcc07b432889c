"""Error codes and messages that callers see when a run fails."""

from __future__ import annotations

import re

from jobs.errors import ExecutionError, FramemillError, OutOfMemory
from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest
from workers.pipelines.device_errors import is_out_of_memory

#: File names in a library's message.
_PATH = re.compile(r"(/[^\s/'\"]+){2,}")
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
