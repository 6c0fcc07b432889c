"""diffusers pipelines, images and video: map the request to the call, report steps, stop, give frames."""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from PIL import Image

from jobs.errors import ExecutionError
from jobs.objects import ObjectStore
from jobs.requests import GenerationRequest
from workers.inputs import read_input
from workers.preview import Previews
from workers.report import Reporter


def run(
    pipeline: Any, request: GenerationRequest, reporter: Reporter, objects: ObjectStore | None,
    fixed: Mapping[str, Any], previews: Previews,
) -> np.ndarray:  # fmt: skip
    """Compute one request; ``fixed`` are the model's own arguments of the call.

    Returns:
        (images, frames, height, width, 3) uint8 RGB; frames is 1 for an image.

    Raises:
        JobCancelled: stopped, within one step. The pipeline stays usable.
        ExecutionError: the pipeline gave something that is no picture.
    """
    accepted = inspect.signature(pipeline.__call__).parameters
    arguments = {name: value for name, value in _arguments(request, objects).items() if name in accepted}
    arguments |= fixed
    # A generator on the CPU gives the same noise for a seed on every device.
    arguments["generator"] = torch.Generator("cpu").manual_seed(request.seed)
    if request.strength is not None:
        reporter.expect(int(request.steps * request.strength))  # what img2img pipelines run
    reporter.stage("denoising")
    with _stopping(pipeline, accepted, reporter, arguments, previews), torch.inference_mode():
        try:
            output = pipeline(**arguments)
        finally:
            # A raise from the callback skips the pipeline's own clean-up of offloaded modules.
            pipeline.maybe_free_model_hooks()
    reporter.check()
    return _frames(output, request)


def _arguments(request: GenerationRequest, objects: ObjectStore | None) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt or None,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "width": request.width,
        "height": request.height,
        "output_type": "np",
    }
    if request.kind.is_video:
        arguments |= {"num_frames": request.frames, "frame_rate": request.fps}
    if request.image is not None and objects is not None:
        picture = Image.open(io.BytesIO(read_input(objects, request.image))).convert("RGB")
        arguments["image"] = picture.resize((request.width, request.height), Image.Resampling.LANCZOS)
    if request.strength is not None:
        arguments["strength"] = request.strength
    return arguments


@contextmanager
def _stopping(
    pipeline: Any, accepted: Any, reporter: Reporter, arguments: dict[str, Any], previews: Previews
) -> Iterator[None]:
    """Have every step reported, and raise JobCancelled from inside the loop when the job is over.

    Raising is what stops: setting a pipeline's ``_interrupt`` still decodes, and some pipelines ignore it.
    Pipelines without the callback are stopped before each forward of their denoiser. The decoder is watched too.
    """
    if "callback_on_step_end" in accepted:
        arguments["callback_on_step_end"] = _callback(reporter, previews)
    hooks = [
        module.register_forward_pre_hook(lambda _module, _inputs: reporter.check())
        for module in (getattr(pipeline, name, None) for name in ("transformer", "transformer_2", "unet", "prior"))
        if isinstance(module, torch.nn.Module)
    ]
    decoder = getattr(getattr(pipeline, "vae", None), "decoder", None)
    if isinstance(decoder, torch.nn.Module):

        def on_decode(_module: Any, _inputs: Any) -> None:
            if not previews.fitting:
                reporter.stage("decoding")

        hooks.append(decoder.register_forward_pre_hook(on_decode))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _callback(reporter: Reporter, previews: Previews) -> Callable[..., dict[str, Any]]:
    def on_step_end(_pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        reporter.step(step + 1)
        previews.step(step + 1, tensors.get("latents"))
        return tensors

    return on_step_end


def _frames(output: Any, request: GenerationRequest) -> np.ndarray:
    """A pipeline's output as uint8; float outputs lie in 0..1."""
    raw = output.frames if hasattr(output, "frames") else output.images
    frames = np.asarray(raw)
    if frames.ndim == 4:  # images: (images, height, width, 3)
        frames = frames[:, None]
    if frames.ndim != 5 or frames.shape[-1] != 3:
        raise ExecutionError(f"the pipeline gave an array of shape {frames.shape}")
    if not np.isfinite(frames).all():
        raise ExecutionError("the model produced no picture (not-a-number values): try another dtype or fewer steps")
    if frames.dtype != np.uint8:
        frames = (frames.clip(0, 1) * 255).round().astype(np.uint8)
    return frames
