"""Convert the output pictures of pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from jobs.errors import ExecutionError
from workers.diffusion.inputs import fitting


def scaled_to_cover(picture: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Scale (height, width, 3) uint8 RGB until it covers ``size`` (width, height in pixels), and crop to its middle."""
    image = Image.fromarray(picture)
    return fitting.fit(image.size, size, "crop").apply(image)


def of_output(output: Any, attribute: str | None = None, *, is_video: bool = False) -> np.ndarray:
    """Convert a pipeline's output to (images, frames, height, width, 3) uint8 RGB; frames is 1 for an image.

    Args:
        output: the return value of the call. Floats are in 0..1; in tensors channels come before height and width.
        attribute: the attribute with the pictures; None: ``frames``, ``video(s)`` or ``images``.
        is_video: whether pictures without a dimension for videos are the frames of one.

    Raises:
        ExecutionError: the output contains no pictures.
    """
    attribute = attribute or next((name for name in ("frames", "video", "videos") if hasattr(output, name)), "images")
    if not hasattr(output, attribute):
        raise ExecutionError(f"the pipeline returned a {type(output).__name__} without {attribute!r}")
    raw = getattr(output, attribute)
    if isinstance(raw, torch.Tensor):
        raw = raw.float().movedim(-3, -1).cpu().numpy()
    frames = np.asarray(raw)
    if frames.ndim == 4:  # (images or frames, height, width, channels)
        frames = frames[None] if is_video else frames[:, None]
    if frames.ndim != 5 or frames.shape[-1] not in (1, 3, 4):
        raise ExecutionError(f"the pipeline returned an array of shape {frames.shape}")
    frames = np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames[..., :3]
    if not np.isfinite(frames).all():
        raise ExecutionError("the model produced no picture (not-a-number values): try another dtype or fewer steps")
    if frames.dtype != np.uint8:
        frames = (frames.clip(0, 1) * 255).round().astype(np.uint8)
    return frames
