"""No model: a picture is drawn from prompt and seed. For tests of everything around it, on machines without a GPU."""

from __future__ import annotations

import hashlib

import numpy as np

from jobs.requests.generation import GenerationRequest
from workers.gpu import noop
from workers.gpu.report import Reporter


def run(request: GenerationRequest, reporter: Reporter) -> np.ndarray:
    """Count the request's steps, then draw; the same request gives the same picture.

    Returns:
        (images, frames, height, width, 3) uint8 RGB.

    Raises:
        JobCancelled: stopped, within one step.
    """
    noop.run(request, reporter)
    return np.stack([_clip(request, index) for index in range(request.num_images)])


def _clip(request: GenerationRequest, index: int) -> np.ndarray:
    """A circle that moves over a gradient."""
    seeds, (width, height) = request.seeds(index), request.output_size
    digest = hashlib.sha256(f"{request.prompt} {' '.join(map(str, seeds.values()))}".encode()).digest()
    corners = np.frombuffer(digest[:6], np.uint8).reshape(2, 3).astype(float)
    down = np.linspace(0, 1, height)[:, None, None]
    background = np.broadcast_to(corners[0] * (1 - down) + corners[1] * down, (height, width, 3))
    rows, columns = np.mgrid[:height, :width]
    frames = np.empty((request.frames, height, width, 3), np.uint8)
    for index in range(request.frames):
        centre = width * (0.25 + 0.5 * (digest[6] / 255 + index / request.frames) % 1)
        inside = (rows - height / 2) ** 2 + (columns - centre) ** 2 < (height / 4) ** 2
        frames[index] = np.where(inside[..., None], np.frombuffer(digest[7:10], np.uint8), background)
    return frames
