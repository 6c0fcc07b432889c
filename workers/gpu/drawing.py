"""The executor ``drawing``: draws pictures from prompt and seed, without a model. For tests without a GPU."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
from PIL import Image

from jobs.requests.generation import GenerationRequest
from workers.checkpoints.contract import Keeper
from workers.gpu import noop
from workers.reporting import preview_file
from workers.reporting.reporter import Reporter


def draw(request: GenerationRequest, reporter: Reporter, keeper: Keeper | None = None) -> np.ndarray:
    """Count the request's steps, then draw. Equal requests give equal pictures. Previews show the first one fade in.

    Returns:
        (images, frames, height, width, 3) uint8 RGB.

    Raises:
        RunCancelled: stopped, within one step.
        RunInterrupted: stopped, within one step, with a checkpoint.
    """

    def after_step(done: int) -> None:
        if reporter.preview_due():
            reporter.preview(done, partial(_preview, request, done / request.total_steps))

    def show_draft(done: int) -> None:
        reporter.preview(done, partial(_preview, request, 1))

    noop.count_steps(request, reporter, after_step, keeper, show_draft)
    return np.stack([_clip(request, index) for index in range(request.num_images)])


def _preview(request: GenerationRequest, brightness: float) -> tuple[bytes, str]:
    """Return the file of a preview, and its media type: the first frame, black (0) to finished (1)."""
    width, height = request.output_size
    frame = (_clip(request, 0)[0] * brightness).astype(np.uint8)
    return preview_file.encode(Image.fromarray(frame), width, height)


def _clip(request: GenerationRequest, index: int) -> np.ndarray:
    """Draw a circle that moves over a gradient: (frames, height, width, 3) uint8 RGB."""
    seeds, (width, height) = request.seeds(index), request.output_size
    digest = hashlib.sha256(f"{request.prompt} {' '.join(map(str, seeds.values()))}".encode()).digest()
    corners = np.frombuffer(digest[:6], np.uint8).reshape(2, 3).astype(float)
    down = np.linspace(0, 1, height)[:, None, None]
    background = np.broadcast_to(corners[0] * (1 - down) + corners[1] * down, (height, width, 3))
    rows, columns = np.mgrid[:height, :width]
    frames = np.empty((request.frames, height, width, 3), np.uint8)
    for number in range(request.frames):
        centre = width * (0.25 + 0.5 * (digest[6] / 255 + number / request.frames) % 1)
        inside = (rows - height / 2) ** 2 + (columns - centre) ** 2 < (height / 4) ** 2
        frames[number] = np.where(inside[..., None], np.frombuffer(digest[7:10], np.uint8), background)
    return frames
