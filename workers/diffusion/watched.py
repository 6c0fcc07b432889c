"""Let a run of a pipeline be stopped anywhere, and leave the pipeline as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from workers.diffusion.progress import StepPreviews
from workers.reporting.contract import RunReports


@contextmanager
def watched(pipeline: Any, reporter: RunReports, previews: StepPreviews) -> Iterator[None]:
    """Run inference inside the block; check before every forward of a module whether the job has to stop.

    Stopping means raising: a pipeline whose ``_interrupt`` is set still decodes, and some pipelines ignore it. A
    cancelled job therefore ends before the next forward of any module (twice in a step with guidance), with or without
    a step callback. The pipeline stays usable, whatever is raised. Decoders need their own hooks, because they are
    entered below the forward of their module.
    """
    modules = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    decoders = [
        decoder
        for decoder in (getattr(part, "decoder", None) for part in modules if hasattr(part, "decode"))
        if isinstance(decoder, torch.nn.Module)
    ]

    def on_decode(_module: Any, _inputs: Any) -> None:
        if not previews.fitting:
            reporter.stage("decoding")

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_pre_hook(lambda *_: reporter.check()).remove)
        for decoder in decoders:
            stack.callback(decoder.register_forward_pre_hook(on_decode).remove)
        # Restore what the pipeline restores at its end, in case something is raised: SDXL decodes in float32.
        for module, dtype in [(module, getattr(module, "dtype", None)) for module in modules]:
            stack.callback(_restore_dtype, module, dtype)
        stack.callback(pipeline.maybe_free_model_hooks)
        stack.enter_context(torch.inference_mode())
        yield


def _restore_dtype(module: torch.nn.Module, dtype: torch.dtype | None) -> None:
    if dtype is not None and module.dtype != dtype:
        module.to(dtype=dtype)
