"""Compute a request on a diffusers pipeline: image or video, one or two passes, with progress and stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from jobs.errors import ExecutionError
from jobs.models.spec import Kind, ModelSpec
from jobs.objects.reading import Readable
from jobs.requests.generation import GenerationRequest
from workers.diffusion import arguments, clip_skip, inpainting, noise, pictures, sounds
from workers.diffusion import prior as priors
from workers.diffusion.preview import Previews
from workers.diffusion.progress import Share, StepCounter
from workers.pipelines import loras, schedulers, step_caches
from workers.prompts import cut
from workers.prompts import embeddings as weighting
from workers.reporting.reporter import Reporter
from workers.spool.sound import Sound


@dataclass(frozen=True)
class Generated:
    """The outputs of one request."""

    #: (images, frames, height, width, 3) uint8 RGB; frames is 1 for an image. The size is that of the request or
    #: (inpaint with area ``masked``) of the input image.
    frames: np.ndarray
    #: The sound of a video; None: the pipeline made none, or the request wants none.
    sound: Sound | None = None


def generate(
    pipeline: Any, spec: ModelSpec, request: GenerationRequest, reporter: Reporter, objects: Readable | None,
    previews: Previews, prior: Any, second_pipeline: Callable[[], Any],
) -> Generated:  # fmt: skip
    """Compute one request. The pipeline is afterwards in the same state as before.

    Args:
        pipeline: the pipeline for this kind of request.
        spec: its model.
        request: the request.
        reporter: reports every step and stops the run.
        objects: where input images are stored; None if the request has none.
        previews: receives the latents of every step.
        prior: the pipeline that computes the embeddings; None if the model has none.
        second_pipeline: returns the pipeline of the second pass, when the first pass is over.

    Raises:
        RunCancelled: stopped, within one step. The pipeline stays usable.
        ExecutionError: the output is not a picture, or the pipeline cannot do what the models file says.
    """
    if request.kind is Kind.MIX2IMG and prior is None:
        raise ExecutionError("mix2img needs a prior (models file)")
    if request.prior and prior is None:
        raise ExecutionError("prior: the model has none")
    run = _Run(spec, request, reporter, previews, objects)
    inputs = inpainting.inputs_of(pipeline, spec, request, objects)
    batches = arguments.batches(pipeline, spec, request, has_prior=prior is not None)
    embeddings: list[dict[str, Any]] = [{} for _ in batches]
    if prior is not None:
        embeddings = run.embeddings(prior, batches)
    second_request = _second_pass(request) if request.hires else None
    steps = StepCounter(reporter, previews, _shares(request, second_request, batches))
    pictures_in = [inputs.of(**request.seeds(images[0])) for images in batches]
    reporter.stage("denoising")
    generated = run.denoise(pipeline, request, steps, _Batches(batches, embeddings, pictures_in))
    if second_request is not None:
        enlarged = [
            {"image": pictures.scaled_to_cover(picture, second_request.output_size)} for [picture] in generated.frames
        ]
        pipeline = second_pipeline()
        if not arguments.takes(pipeline, spec, second_request, "image", "strength"):
            raise ExecutionError(f"hires: {type(pipeline).__name__} takes no image and strength for a second pass")
        batches = [[index] for index in range(request.num_images)]
        embeddings = embeddings if prior is not None else [{} for _ in batches]
        generated = run.denoise(pipeline, second_request, steps, _Batches(batches, embeddings, enlarged))
    reporter.check()
    return replace(generated, frames=inputs.finished(generated.frames))


@dataclass(frozen=True)
class _Batches:
    """The calls of one pass: for each the indexes of its images, its embeddings and its input pictures."""

    images: list[list[int]]
    embeddings: list[dict[str, Any]]
    inputs: list[dict[str, Any]]


@dataclass(frozen=True)
class _Run:
    """What all calls of one run share."""

    spec: ModelSpec
    request: GenerationRequest
    reporter: Reporter
    previews: Previews
    objects: Readable | None

    def embeddings(self, prior: Any, batches: list[list[int]]) -> list[dict[str, Any]]:
        """Run the prior for each batch (of one image)."""
        self.reporter.stage("prior")
        with _watched(prior, self.reporter, self.previews), schedulers.fresh(prior):
            return [
                priors.embeddings(
                    prior, self.spec, self.request, self.objects, *noise.generators(self.request, images)
                )
                for images in batches
            ]  # fmt: skip

    def denoise(
        self, pipeline: Any, request: GenerationRequest, steps: StepCounter, batches: _Batches
    ) -> Generated:  # fmt: skip
        """Run one pass: call the pipeline for each batch; return the frames of all images, and the sound of a video."""
        parameters, frames = arguments.accepted(pipeline), []
        sound: Sound | None = None
        with (
            loras.applied(pipeline, self.spec, request.loras or ()),
            _watched(pipeline, self.reporter, self.previews),
            clip_skip.supported(pipeline, request.clip_skip),
            cut.told(pipeline, request, self.reporter.warn),
            step_caches.applied(pipeline, self.spec.step_cache(request.quality), request.steps),
        ):  # fmt: skip
            for images, embedded, inputs in zip(batches.images, batches.embeddings, batches.inputs, strict=True):
                steps.next_call(pipeline, request)
                generators = noise.generators(request, images)
                call = {name: value for name, value in embedded.items() if name in parameters}
                call |= arguments.of(pipeline, self.spec, request, inputs, generators)
                if self.spec.prompt_weighting:
                    call = weighting.weighted(pipeline, call)
                on_step = None
                if "callback_on_step_end" in parameters:
                    call["callback_on_step_end"] = steps.callback()
                else:
                    on_step = steps.step
                with schedulers.fresh(pipeline, request.scheduler, on_step), noise.mixed(generators):
                    output = pipeline(**call)
                is_video = request.kind.is_video
                frames.append(pictures.of_output(output, self.spec.output, is_video=is_video))
                if is_video and request.audio_output is not False:
                    sound = sounds.of_output(pipeline, output)
        return Generated(np.concatenate(frames), sound)


def _shares(
    request: GenerationRequest, second_request: GenerationRequest | None, batches: list[list[int]]
) -> list[Share]:  # fmt: skip
    """Return the expected steps of each call. The second pass makes each image alone, because it needs more memory."""
    pixels = request.width * request.height
    shares = [Share(int(request.steps * (request.strength or 1)), pixels * len(images)) for images in batches]
    if second_request is not None:
        pixels = second_request.width * second_request.height
        shares += [Share(request.second_steps, pixels) for _ in range(request.num_images)]
    return shares


def _second_pass(request: GenerationRequest) -> GenerationRequest:
    """Return the second pass of a request as an img2img request."""
    return replace(request, kind=Kind.IMG2IMG, hires=None, **(request.hires or {}))


@contextmanager
def _watched(pipeline: Any, reporter: Reporter, previews: Previews) -> Iterator[None]:
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
