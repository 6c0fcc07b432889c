"""Compute several requests in one call of a pipeline: each picture from its own texts and seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from jobs.errors import ExecutionError
from jobs.models.spec import ModelSpec
from jobs.requests.generation import GenerationRequest
from workers.checkpoints.recorder import RunRecorder
from workers.diffusion import arguments, clip_skip, noise, pictures
from workers.diffusion.calling import called
from workers.diffusion.preview import Previews
from workers.diffusion.progress import Share, StepCounter
from workers.diffusion.watched import watched
from workers.pipelines.adapters import loras
from workers.prompts import cut
from workers.reporting.contract import RunReports


class SharedPreviews:
    """The previews of all requests: each gets the latents of its own picture."""

    def __init__(self, members: Sequence[Previews]) -> None:
        self._members = members

    @property
    def fitting(self) -> bool:
        """Whether the decoder runs for a fit now, not for the result."""
        return any(member.fitting for member in self._members)

    def begin(self, pipeline: Any, request: GenerationRequest, steps_before: int) -> None:
        for member in self._members:
            member.begin(pipeline, request, steps_before)

    def step(self, done: int, latents: torch.Tensor | None) -> None:
        rows = None if latents is None or len(latents) != len(self._members) else latents.split(1)
        for number, member in enumerate(self._members):
            member.step(done, rows[number] if rows else None)


def generate_together(
    pipeline: Any, spec: ModelSpec, requests: Sequence[GenerationRequest], reporter: RunReports,
    previews: SharedPreviews, warn: Sequence[Callable[[str], None]],
) -> np.ndarray:  # fmt: skip
    """Compute requests that differ in texts and seed only. The pipeline is afterwards in the same state as before.

    Args:
        pipeline: the pipeline for their kind.
        spec: their model.
        requests: the requests, each for one image (:func:`jobs.model_commands.why_alone`).
        reporter: reports every step and stops the run.
        previews: receives the latents of every step.
        warn: for each request, receives warnings about it.

    Returns:
        (requests, 1, height, width, 3) uint8 RGB.

    Raises:
        RunCancelled: all of them were stopped. The pipeline stays usable.
        ExecutionError: the pipeline does not compute several texts at once.
    """
    first = requests[0]
    recorder, share = RunRecorder(None), Share(first.steps, first.width * first.height * len(requests))
    steps = StepCounter(reporter, previews, recorder, [share])
    generators = [noise.generators(request, [0])[0] for request in requests]
    reporter.stage("denoising")
    with ExitStack() as stack:
        stack.enter_context(loras.applied(pipeline, spec, first.loras or ()))
        stack.enter_context(watched(pipeline, reporter, previews))
        stack.enter_context(clip_skip.supported(pipeline, first.clip_skip))
        for request, tell in zip(requests, warn, strict=True):
            stack.enter_context(cut.told(pipeline, request, spec.arguments_of(request.kind), tell))
        steps.next_call(pipeline, first)
        call = arguments.of_several(pipeline, spec, requests, generators)
        output = called(pipeline, first, call, generators, steps, recorder)
    frames = pictures.of_output(output, spec.output)
    if len(frames) != len(requests):
        raise ExecutionError(f"the pipeline made {len(frames)} pictures of {len(requests)} texts")
    reporter.check()
    return frames
