"""Run a request: one or two passes of pipeline calls, with progress, previews and checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from jobs.errors import ExecutionError
from jobs.models.spec import Kind, ModelSpec
from jobs.objects.reading import Readable
from jobs.requests.generation import GenerationRequest
from workers.checkpoints.recorder import RunRecorder
from workers.diffusion import arguments, clip_skip, noise, pictures
from workers.diffusion import prior as priors
from workers.diffusion.calling import called
from workers.diffusion.inputs import reading
from workers.diffusion.inputs.controls import ControlInputs, controls_of
from workers.diffusion.outputs import sounds
from workers.diffusion.preview import Previews
from workers.diffusion.progress import Share, StepCounter
from workers.diffusion.watched import watched
from workers.pipelines import schedulers, step_caches
from workers.pipelines.adapters import ip_adapters, loras
from workers.prompts import cut
from workers.prompts import embeddings as weighting
from workers.reporting.reporter import Reporter
from workers.spool.sound import Sound

logger = logging.getLogger(__name__)

#: The result of one call, in values that a checkpoint can hold: frames, and samples and rate of a sound.
Made = tuple[np.ndarray, tuple[np.ndarray, int] | None]


@dataclass(frozen=True)
class Generated:
    """The outputs of one request."""

    #: (images, frames, height, width, 3) uint8 RGB; frames is 1 for an image. The size is that of the request or
    #: (inpaint with area ``masked``) of the input image.
    frames: np.ndarray
    #: The sound of a video; None: the pipeline made none, or the request wants none.
    sound: Sound | None = None


@dataclass(frozen=True)
class _Batches:
    """The calls of one pass: for each the indexes of its images, its embeddings and its input pictures."""

    images: list[list[int]]
    embeddings: list[dict[str, Any]]
    inputs: list[dict[str, Any]]
    controls: ControlInputs


@dataclass(frozen=True)
class Run:
    """One run: the calls of pipelines that a request needs.

    Args:
        spec: the model.
        request: the request.
        reporter: reports every step and stops the run.
        previews: receives the latents of every step.
        objects: where input images are stored; None if the request has none.
        recorder: knows what an earlier attempt computed, and takes checkpoints.
    """

    spec: ModelSpec
    request: GenerationRequest
    reporter: Reporter
    previews: Previews
    objects: Readable | None
    recorder: RunRecorder

    def outputs(self, pipeline: Any, prior: Any, second_pipeline: Callable[[], Any]) -> Generated:
        """Run all calls; see :func:`workers.diffusion.generate.generate`."""
        request = self.request
        inputs = reading.inputs_of(pipeline, self.spec, request, self.objects)
        batches = arguments.batches(pipeline, self.spec, request, has_prior=prior is not None)
        embeddings: list[dict[str, Any]] = [{} for _ in batches]
        if prior is not None:
            embeddings = self.embeddings(prior, batches)
        second_request = _second_pass(request) if request.hires else None
        shares = _shares(request, second_request, batches)
        steps = StepCounter(self.reporter, self.previews, self.recorder, shares)
        pictures_in = [inputs.of(**request.seeds(images[0])) for images in batches]
        self.reporter.stage("denoising")
        controls = controls_of(pipeline, self.spec, request, self.objects, inputs.fitted)
        generated = self.denoise(pipeline, request, steps, _Batches(batches, embeddings, pictures_in, controls))
        if second_request is not None:
            size = second_request.output_size
            enlarged = [{"image": pictures.scaled_to_cover(picture, size)} for [picture] in generated.frames]
            pipeline = second_pipeline()
            if not arguments.takes(pipeline, self.spec, second_request, "image", "strength"):
                raise ExecutionError(f"hires: {type(pipeline).__name__} takes no image and strength for a second pass")
            batches = [[index] for index in range(request.num_images)]
            embeddings = embeddings if prior is not None else [{} for _ in batches]
            fit = reading.Inputs({}, size).fitted
            controls = controls_of(pipeline, self.spec, second_request, self.objects, fit)
            generated = self.denoise(pipeline, second_request, steps, _Batches(batches, embeddings, enlarged, controls))
        self.reporter.check()
        return replace(generated, frames=inputs.finished(generated.frames))

    def embeddings(self, prior: Any, batches: list[list[int]]) -> list[dict[str, Any]]:
        """Run the prior for each batch (of one image)."""
        self.reporter.stage("prior")
        with watched(prior, self.reporter, self.previews), schedulers.fresh(prior):
            return [self.recorder.result(partial(self._embedded, prior, images)) for images in batches]

    def _embedded(self, prior: Any, images: list[int]) -> dict[str, Any]:
        generators = noise.generators(self.request, images)
        return priors.embeddings(prior, self.spec, self.request, self.objects, *generators)

    def denoise(
        self, pipeline: Any, request: GenerationRequest, steps: StepCounter, batches: _Batches
    ) -> Generated:  # fmt: skip
        """Run one pass: call the pipeline for each batch; return the frames of all images, and the sound of a video."""
        made: list[Made] = []
        with (
            loras.applied(pipeline, self.spec, request.loras or ()),
            watched(pipeline, self.reporter, self.previews),
            clip_skip.supported(pipeline, request.clip_skip),
            cut.told(pipeline, request, self.spec.arguments_of(request.kind), self.reporter.warn),
            step_caches.applied(pipeline, self.spec.step_cache(request.quality), request.steps),
            ip_adapters.applied(pipeline),
        ):  # fmt: skip
            for images, embedded, inputs in zip(batches.images, batches.embeddings, batches.inputs, strict=True):
                steps.next_call(pipeline, request)
                make = partial(self._denoised, pipeline, request, steps, images, embedded, inputs, batches.controls)
                made.append(self.recorder.result(make))
        sound = made[-1][1]
        return Generated(np.concatenate([frames for frames, _ in made]), Sound(*sound) if sound else None)

    def _denoised(
        self, pipeline: Any, request: GenerationRequest, steps: StepCounter, images: list[int],
        embedded: dict[str, Any], inputs: dict[str, Any], controls: ControlInputs,
    ) -> Made:  # fmt: skip
        """Make one call. If it made a draft, the draft is shown, and the call goes on from there."""
        while True:
            try:
                frames, sound = self._called(pipeline, request, steps, images, embedded, inputs, controls)
            except Exception:
                if not self.recorder.has_draft:
                    raise
                logger.warning("no draft of this step", exc_info=True, extra={"model": request.model})
            else:
                if not self.recorder.has_draft:
                    return frames, sound
                steps.show_draft(frames[0], request)
            self.recorder.keep_draft()

    def _called(
        self, pipeline: Any, request: GenerationRequest, steps: StepCounter, images: list[int],
        embedded: dict[str, Any], inputs: dict[str, Any], controls: ControlInputs,
    ) -> Made:  # fmt: skip
        parameters, generators = arguments.accepted(pipeline), noise.generators(request, images)
        call = {name: value for name, value in embedded.items() if name in parameters}
        call |= {**controls.arguments, **arguments.of(pipeline, self.spec, request, inputs, generators)}
        controls.begin(pipeline, int(request.steps * (request.strength or 1)))
        if self.spec.prompt_weighting:
            call = weighting.weighted(pipeline, call)
        output = called(pipeline, request, call, generators, steps, self.recorder, controls.followed)
        is_video, sound = request.kind.is_video, None
        if is_video and request.audio_output is not False:
            sound = sounds.of_output(pipeline, output)
        frames = pictures.of_output(output, self.spec.output, is_video=is_video)
        return frames, None if sound is None else (sound.samples, sound.sample_rate_hz)


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
