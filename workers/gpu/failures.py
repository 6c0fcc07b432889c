"""What a run's exception means: the caller's mistake, too little memory, or a device that is lost to this process."""

from __future__ import annotations

import gc
import re
import traceback

from jobs.errors import ExecutionError, FramemillError, OutOfMemory
from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest

#: File names that a library's message may hold.
_PATH = re.compile(r"(/[^\s/'\"]+){2,}")
#: torch's messages where it has no class of its own: of the CPU's allocator, of cuBLAS and cuDNN without workspace.
_MEMORY = re.compile(
    r"DefaultCPUAllocator|CUDA out of memory|CUDA error: out of memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
)
#: Errors after which every further call of CUDA in this process fails as well, or cannot be trusted.
_POISON = re.compile(
    r"CUDA error|CUDA driver error"
    r"|(CUBLAS|CUDNN|CUSOLVER|CUSPARSE)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR)"
    r"|device-side assert|illegal memory access|misaligned address|unspecified launch failure|uncorrectable ECC"
    r"|NVML_ERROR_GPU_IS_LOST|GPU has fallen off the bus",
    re.IGNORECASE,
)


def is_out_of_memory(exc: BaseException) -> bool:
    """Whether too little memory ended it; the process can go on."""
    if isinstance(exc, OutOfMemory | MemoryError) or type(exc).__name__ == "OutOfMemoryError":
        return True
    return isinstance(exc, RuntimeError) and bool(_MEMORY.search(str(exc)))


def is_poison(exc: BaseException) -> bool:
    """Whether this process can use its device no more."""
    if isinstance(exc, FramemillError) or is_out_of_memory(exc):
        return False
    return type(exc).__name__ == "AcceleratorError" or (
        isinstance(exc, RuntimeError) and bool(_POISON.search(str(exc)))
    )


def let_go(exc: BaseException) -> None:
    """Forget the frames of an exception and of those behind it: they hold the tensors of the run."""
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    gc.collect()


def too_little_memory(request: GenerationRequest, spec: ModelSpec) -> OutOfMemory:
    """What to tell the caller when a job had the device to itself and it was not enough."""
    width, height = request.output_size
    size = f"{width} x {height} px" + (f", {request.frames} frames" if request.kind.is_video else "")
    advice = "ask for a smaller size" + (" or fewer frames" if request.kind.is_video else "")
    offloads = {"none": "model", "model": "group", "group": "sequential"}
    if further := offloads.get(spec.load.offload):
        advice += f', or let the operator set offload = "{further}" for the model'
    if not spec.load.vae_tiling:
        advice += " or vae_tiling"
    return OutOfMemory(f"the device has too little memory for {size}, with no other model in it: {advice}")


def explain(exc: Exception) -> tuple[str, str]:
    """Code and message for the caller. Unknown exceptions show their type only; the log has the rest."""
    if isinstance(exc, FramemillError):
        return exc.code, exc.message
    if is_out_of_memory(exc):
        return OutOfMemory.code, "the device has too little memory for this request"
    message = f"the model raised {type(exc).__name__}"
    if isinstance(exc, ValueError):  # pipelines refuse arguments with it, and say why
        message += ": " + _PATH.sub("…", str(exc).partition("\n")[0])[:300]
    return ExecutionError.code, message
