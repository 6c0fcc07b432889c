"""diffusers pipelines, images and video: call them for a request, report steps, stop, give frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from jobs.errors import ExecutionError
from jobs.models.spec import Kind, ModelSpec
from jobs.objects.base import ObjectStore
from jobs.requests.generation import GenerationRequest
from workers.diffusion import arguments, inpainting, noise, pictures
from workers.diffusion import prior as priors
from workers.diffusion.preview import Previews
from workers.diffusion.progress import Progress, Share
from workers.pipelines import loras, schedulers
from workers.reporting.reporter import Reporter


def generate(
    pipeline: Any, spec: ModelSpec, request: GenerationRequest, reporter: Reporter, objects: ObjectStore | None,
    previews: Previews, prior: Any, second: Callable[[], Any],
) -> np.ndarray:  # fmt: skip
    """Compute one request. Nothing of it is left in the pipeline: the next one finds it as it was loaded.

    Args:
        pipeline: the pipeline for this kind of request.
        spec: its model.
        request: the request.
        reporter: is told of every step, and knows when to stop.
        objects: where input images are.
        previews: is shown the latents of every step.
        prior: the pipeline whose embeddings this one takes; None: the model has none.
        second: gives the pipeline of a second pass, when the first is over.

    Returns:
        (images, frames, height, width, 3) uint8 RGB; frames is 1 for an image. Of the request's size, or (inpaint
        with area ``masked``) of the input image's.

    Raises:
        JobCancelled: stopped, within one step. The pipeline stays usable.
        ExecutionError: the pipeline gave something that is no picture, or cannot do what the models file says.
    """
    if request.kind is Kind.MIX2IMG and prior is None:
        raise ExecutionError("mix2img needs a prior (models file)")
    if request.prior and prior is None:
        raise ExecutionError("prior: the model has none")
    inputs = inpainting.inputs_of(pipeline, request, objects)
    batches = arguments.batches(pipeline, spec, request, has_prior=prior is not None)
    embeddings: list[dict[str, Any]] = [{} for _ in batches]
    if prior is not None:
        reporter.stage("prior")
        with _running(prior, reporter, previews), schedulers.fresh(prior):
            embeddings = [
                priors.embeddings(prior, spec, request, objects, *noise.generators(request, images))
                for images in batches
            ]
    # The first pass may make several images at once, the second is too large for that.
    first_steps, first_px = int(request.steps * (request.strength or 1)), request.width * request.height
    shares = [Share(first_steps, first_px * len(images)) for images in batches]
    larger = _second_pass(request) if request.hires else None
    if larger:
        shares += [Share(request.second_steps, larger.width * larger.height) for _ in range(request.num_images)]
    progress = Progress(reporter, previews, shares)
    taken = [inputs.of(**request.seeds(images[0])) for images in batches]
    reporter.stage("denoising")
    found = _denoised(pipeline, spec, request, reporter, previews, progress, batches, embeddings, taken)
    if larger:
        enlarged = [{"image": pictures.enlarged(picture, larger.output_size)} for [picture] in found]
        pipeline = second()
        if not arguments.takes(pipeline, spec, larger, "image", "strength"):
            raise ExecutionError(f"hires: {type(pipeline).__name__} takes no image and strength for a second pass")
        batches = [[index] for index in range(request.num_images)]
        embeddings = embeddings if prior is not None else [{} for _ in batches]
        found = _denoised(pipeline, spec, larger, reporter, previews, progress, batches, embeddings, enlarged)
    reporter.check()
    return inputs.finished(found)


def _second_pass(request: GenerationRequest) -> GenerationRequest:
    """What the second pass of a request does, as an img2img of its own."""
    return replace(request, kind=Kind.IMG2IMG, hires=None, **(request.hires or {}))


def _denoised(
    pipeline: Any, spec: ModelSpec, request: GenerationRequest, reporter: Reporter, previews: Previews,
    progress: Progress, batches: list[list[int]], embeddings: list[dict[str, Any]], inputs: list[dict[str, Any]],
) -> np.ndarray:  # fmt: skip
    """One pass: a call for each batch of images, with its embeddings and input pictures."""
    taken, found = arguments.accepted(pipeline), []
    with loras.applied(pipeline, spec, request.loras or ()), _running(pipeline, reporter, previews):
        for images, embedded, pictures_in in zip(batches, embeddings, inputs, strict=True):
            progress.next_call(pipeline, request)
            generators = noise.generators(request, images)
            call = {name: value for name, value in embedded.items() if name in taken}
            call |= arguments.of(pipeline, spec, request, pictures_in, generators)
            counter = None
            if "callback_on_step_end" in taken:
                call["callback_on_step_end"] = progress.callback()
            else:
                counter = progress.step
            with schedulers.fresh(pipeline, request.scheduler, counter), noise.mixed(generators):
                output = pipeline(**call)
            found.append(pictures.of_output(output, spec.output))
    return np.concatenate(found)


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
