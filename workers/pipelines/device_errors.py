"""Recognise what an exception of torch means for the device: too little memory, or a process that lost its device."""

from __future__ import annotations

import gc
import re
import traceback

from jobs.errors import FramemillError, OutOfMemory

#: torch has no exception class for these: the CPU's allocator, and cuBLAS and cuDNN without memory for a workspace.
_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator|CUDA out of memory|CUDA error: out of memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
)
#: After these errors every further CUDA call of the process fails or cannot be trusted.
_DEVICE_LOST = re.compile(
    r"CUDA error|CUDA driver error"
    r"|(CUBLAS|CUDNN|CUSOLVER|CUSPARSE)_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR|MAPPING_ERROR)"
    r"|device-side assert|illegal memory access|misaligned address|unspecified launch failure|uncorrectable ECC"
    r"|NVML_ERROR_GPU_IS_LOST|GPU has fallen off the bus",
    re.IGNORECASE,
)


def is_out_of_memory(exc: BaseException) -> bool:
    """Return whether the cause was too little memory; the process can go on."""
    if isinstance(exc, OutOfMemory | MemoryError) or type(exc).__name__ == "OutOfMemoryError":
        return True
    return isinstance(exc, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(exc)))


def is_device_lost(exc: BaseException) -> bool:
    """Return whether this process can no longer use its device."""
    if isinstance(exc, FramemillError) or is_out_of_memory(exc):
        return False
    return type(exc).__name__ == "AcceleratorError" or (
        isinstance(exc, RuntimeError) and bool(_DEVICE_LOST.search(str(exc)))
    )


def release_tensors(exc: BaseException) -> None:
    """Clear the stack frames of an exception and of its causes: they keep the tensors of the run alive."""
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    gc.collect()
