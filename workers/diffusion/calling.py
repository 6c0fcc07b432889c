"""Call a pipeline, with its steps counted, recorded and reproducible."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from jobs.requests.generation import GenerationRequest
from workers.checkpoints.recorder import RunRecorder
from workers.diffusion import arguments, noise
from workers.diffusion.progress import StepCounter
from workers.pipelines import schedulers

#: A ``callback_on_step_end``.
StepEnd = Callable[..., dict[str, Any]]


def called(
    pipeline: Any, request: GenerationRequest, call: Mapping[str, Any], generators: Sequence[torch.Generator],
    steps: StepCounter, recorder: RunRecorder, followed: Callable[[StepEnd], StepEnd] = lambda callback: callback,
) -> Any:  # fmt: skip
    """Call a pipeline and return its output.

    Args:
        pipeline: the pipeline.
        request: names the scheduler.
        call: the arguments, without the callback.
        generators: one for each picture.
        steps: counts the steps.
        recorder: records the call.
        followed: returns a callback that does more at the end of a step.
    """
    on_step, seed, call = None, generators if len(generators) > 1 else generators[0], dict(call)
    if "callback_on_step_end" in arguments.accepted(pipeline):
        call["callback_on_step_end"] = followed(steps.callback())
    else:
        on_step = steps.step
    with (
        recorder.call(pipeline, generators, has_callback=on_step is None) as watch,
        schedulers.fresh(pipeline, request.scheduler, on_step, watch, seed),
        noise.mixed(generators),
    ):
        return pipeline(**call)
