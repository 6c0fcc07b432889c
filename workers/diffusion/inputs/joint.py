"""Arguments of calls that take several inputs together, as objects of a type of the family."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from jobs.errors import ExecutionError

#: Argument → the inputs that it may contain.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "conditions": ("image", "video", "last_image"),  # LTX and LTX-2
    "references": ("images", "image", "video", "audio"),  # MiniMax-H3, in this order
}
#: Arguments that say the rate of a sound in the argument ``audio``, under the names that pipelines have for it.
RATES = ("sampling_rate", "sample_rate", "audio_sample_rate", "memory_audio_sample_rates")
#: Argument of Echo: a list with the sound of each reference image.
_WAVEFORMS = "memory_audio_waveforms"


def value(
    argument: str, pipeline: Any, inputs: Mapping[str, Any], *, frames: int, fps: float, rate_hz: int
) -> list[Any]:  # fmt: skip
    """Return what one of :data:`ARGUMENTS` takes.

    Args:
        argument: the argument.
        pipeline: the pipeline.
        inputs: its inputs by field: pictures, lists of them, and (samples,) of a sound.
        frames: number of frames of the output.
        fps: frames per second of a video.
        rate_hz: samples per second of a sound.

    Raises:
        ExecutionError: nothing is known about this argument of the pipeline.
    """
    if argument == "references":
        return _references(pipeline, inputs, fps=fps, rate_hz=rate_hz)
    return _conditions(pipeline, inputs, frames)


def sound(argument: str, samples: np.ndarray, images: Any) -> Any:
    """Return a sound as an argument takes it: alone, or as the first of a list with one place for each image."""
    if argument != _WAVEFORMS:
        return samples
    places = len(images) if isinstance(images, list) else 1
    return [samples, *[None] * (places - 1)]


def _conditions(pipeline: Any, inputs: Mapping[str, Any], frames: int) -> list[Any]:
    """Return an image or a video from the first frame on, and an image at the last frame."""
    # A custom class is in another module than the class of diffusers that it extends.
    modules = [sys.modules[each.__module__] for each in type(pipeline).__mro__]

    def condition_class(name: str) -> Any:
        return next((found for module in modules if (found := getattr(module, name, None))), None)

    conditions = []
    for name, pictures in inputs.items():
        if condition := condition_class("LTXVideoCondition"):
            part = "video" if name == "video" else "image"
            conditions.append(condition(**{part: pictures}, frame_index=frames - 1 if name == "last_image" else 0))
        elif condition := condition_class("LTX2VideoCondition"):
            conditions.append(condition(frames=pictures, index=-1 if name == "last_image" else 0))  # of the latents
        else:
            raise ExecutionError(f"{type(pipeline).__name__} has conditions of an unknown kind (models file, fields)")
    return conditions


def _references(pipeline: Any, inputs: Mapping[str, Any], *, fps: float, rate_hz: int) -> list[Any]:
    """Return images, a video and a sound as MiniMax-H3 reads them: prompts call them Picture 1, Video 1, Audio 1."""
    if not type(pipeline).__name__.startswith("MiniMaxH3"):
        raise ExecutionError(f"{type(pipeline).__name__} has references of an unknown kind (models file, fields)")
    from diffusers.modular_pipelines.minimax_h3 import references as kinds

    references: list[Any] = []
    for name in ("images", "image"):
        pictures = inputs.get(name, [])
        pictures = pictures if isinstance(pictures, list) else [pictures]
        references += [kinds.MiniMaxH3ImageReference(image=picture) for picture in pictures]
    if "video" in inputs:
        references.append(kinds.MiniMaxH3VideoReference(frames=inputs["video"], fps=fps))
    if "audio" in inputs:
        samples = torch.from_numpy(inputs["audio"])[None]
        references.append(kinds.MiniMaxH3AudioReference(audio=samples, sample_rate=rate_hz))
    return references
