"""diffusers pipelines, images and video: call them for a request, report steps, stop, give frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

from jobs.errors import ExecutionError
from jobs.model_spec import Kind, ModelSpec
from jobs.objects import ObjectStore
from jobs.requests import GenerationRequest
from workers import arguments, inpainting, loras, pictures, schedulers
from workers import prior as priors
from workers.preview import Previews
from workers.report import Reporter


def run(
    pipeline: Any, spec: ModelSpec, request: GenerationRequest, reporter: Reporter, objects: ObjectStore | None,
    previews: Previews, prior: Any = None,
) -> np.ndarray:  # fmt: skip
    """Compute one request. Nothing of it is left in the pipeline: the next one finds it as it was loaded.

    Args:
        pipeline: the pipeline for this kind of request.
        spec: its model.
        request: the request.
        reporter: is told of every step, and knows when to stop.
        objects: where input images are.
        previews: is shown the latents of every step.
        prior: the pipeline whose embeddings this one takes, if the model has one.

    Returns:
        (images, frames, height, width, 3) uint8 RGB; frames is 1 for an image. Of the request's size, or (inpaint
        with area ``masked``) of the input image's.

    Raises:
        JobCancelled: stopped, within one step. The pipeline stays usable.
        ExecutionError: the pipeline gave something that is no picture, or cannot do what the models file says.
    """
    if request.kind is Kind.MIX2IMG and prior is None:
        raise ExecutionError("mix2img needs a prior (models file)")
    inputs = inpainting.inputs_of(pipeline, request, objects)
    batches = arguments.batches(pipeline, spec, request, has_prior=prior is not None)
    embeddings: list[dict[str, Any]] = [{} for _ in batches]
    if prior is not None:
        reporter.stage("prior")
        with _running(prior, reporter, previews), schedulers.fresh(prior):
            embeddings = [priors.embeddings(prior, spec, request, objects, seeds[0]) for seeds in batches]
    progress = _Progress(reporter, len(batches), int(request.steps * (request.strength or 1)))
    taken = arguments.accepted(pipeline)
    found = []
    reporter.stage("denoising")
    with loras.applied(pipeline, spec, request.loras or ()), _running(pipeline, reporter, previews):
        for index, (seeds, embedded) in enumerate(zip(batches, embeddings, strict=True)):
            progress.begin(index)
            call = {name: value for name, value in embedded.items() if name in taken}
            call |= arguments.of(pipeline, spec, request, inputs.of(seeds[0]), seeds)
            counter = None
            if "callback_on_step_end" in taken:
                call["callback_on_step_end"] = _callback(progress, previews)
            else:
                counter = progress.step
            with schedulers.fresh(pipeline, request.scheduler, counter):
                output = pipeline(**call)
            found.append(inputs.finished(pictures.of_output(output, spec.output)))
    reporter.check()
    return np.concatenate(found)


class _Progress:
    """Steps of one call after the other as one count."""

    def __init__(self, reporter: Reporter, calls: int, expected_steps: int) -> None:
        self._reporter, self._calls, self._before = reporter, calls, 0
        self._steps = max(1, expected_steps)
        reporter.expect(self._steps * calls)

    def begin(self, index: int) -> None:
        """The call with this index begins."""
        self._before = index * self._steps

    def step(self, done: int, steps: int) -> None:
        """``done`` of ``steps`` of this call are over. Raises: JobCancelled, RunTimeout."""
        if steps != self._steps:  # some schedulers make more of them, and strength leaves some out
            self._before = self._before // self._steps * steps
            self._steps = steps
            self._reporter.expect(steps * self._calls)
        self._reporter.step(self._before + done)


@contextmanager
def _running(pipeline: Any, reporter: Reporter, previews: Previews) -> Iterator[None]:
    """Inference, with every part of the pipeline watched; it stays usable whatever is raised inside.

    Raising is what stops: setting a pipeline's ``_interrupt`` still decodes, and some pipelines ignore it. So a job
    that is over ends before the next forward of any module (twice in a step with guidance), with or without a step
    callback. Decoders are entered below their module's forward, and watched themselves.
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
        # What the pipeline would have done at its end, if something is raised inside: SDXL decodes in float32.
        for module, dtype in [(module, getattr(module, "dtype", None)) for module in modules]:
            stack.callback(_restore, module, dtype)
        stack.callback(pipeline.maybe_free_model_hooks)
        stack.enter_context(torch.inference_mode())
        yield


def _restore(module: torch.nn.Module, dtype: torch.dtype | None) -> None:
    if dtype is not None and module.dtype != dtype:
        module.to(dtype=dtype)


def _callback(progress: _Progress, previews: Previews) -> Callable[..., dict[str, Any]]:
    def on_step_end(pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        progress.step(step + 1, getattr(pipeline, "num_timesteps", None) or len(pipeline.scheduler.timesteps))
        previews.step(step + 1, tensors.get("latents"))
        return tensors

    return on_step_end
