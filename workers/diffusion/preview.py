"""Previews: small pictures of the current state of a run.

The thread of the steps only copies the latents of one picture. The reporter's thread paints them with numpy, which
leaves torch's threads to the steps. The painter of a model is made when its first preview is due.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from PIL import Image

from jobs.requests.generation import GenerationRequest
from workers.diffusion.latent_space import decoder_of
from workers.diffusion.latents import Level, Schedule, cells, difference, rescaled, without_noise
from workers.diffusion.painter import LatentPainter
from workers.reporting import preview_file
from workers.reporting.reporter import Reporter

logger = logging.getLogger(__name__)

#: Decoder → its painter, as long as the decoder is in memory. None: it cannot be fitted.
_painters: WeakKeyDictionary[Any, LatentPainter | None] = WeakKeyDictionary()


class Previews:
    """The previews of one run.

    Args:
        pipeline: the pipeline that runs.
        request: the request.
        reporter: knows whether a caller asks for previews; draws and publishes them.
        decoder: folder or hub id of an AutoencoderTiny to draw with; None: the linear map.
    """

    def __init__(self, pipeline: Any, request: GenerationRequest, reporter: Reporter, decoder: str | None) -> None:
        self._reporter, self._decoder = reporter, decoder
        self.begin(pipeline, request, 0)
        #: Whether the decoder runs for the fit now, not for the result.
        self.fitting = False
        self._broken = False

    def begin(self, pipeline: Any, request: GenerationRequest, steps_before: int) -> None:
        """Begin a call after ``steps_before`` steps of the run; its pictures have the size of this request."""
        self._pipeline, self._request, self._steps_before = pipeline, request, steps_before
        self._schedule: Schedule | None = None
        self._before: tuple[torch.Tensor, Level] | None = None

    def step(self, done: int, latents: torch.Tensor | None) -> None:
        """Copy the latents of a step of this call if a preview is wanted and due. Never raises an Exception."""
        if self._broken or latents is None or not self._reporter.preview_wanted:
            self._before = None
            return
        try:
            self._step(done, latents)
        except Exception:
            self._broken = True
            logger.warning("no previews of this run", exc_info=True, extra={"model": self._request.model})

    def _step(self, done: int, latents: torch.Tensor) -> None:
        painter = self._painter(latents.device)
        if painter is None:
            self._broken = True
            return
        rows, columns = (side // painter.cell_px for side in (self._request.height, self._request.width))
        picture = cells(self._pipeline, latents, painter.channels, rows, columns)
        if picture is None:
            self._broken = True
            logger.info("no previews: unknown latents", extra={"model": self._request.model})
            return
        self._schedule = self._schedule or Schedule(self._pipeline)
        level, shown = self._schedule.after(done), self._steps_before + done
        if level is None or not self._schedule.is_deterministic:
            if self._reporter.preview_due():
                self._reporter.preview(shown, partial(_draw, painter, self._request, *_copied(picture), level))
            return
        if self._before is not None and not difference(level, self._before[1]):
            return  # the picture is estimated from two different levels
        before, self._before = self._before, (picture, level)
        if before is not None and self._reporter.preview_due():
            copies = _copied(picture, before[0])
            self._reporter.preview(shown, partial(_draw, painter, self._request, *copies, level, before[1]))

    def _painter(self, device: torch.device) -> LatentPainter | None:
        vae = decoder_of(self._pipeline)
        if vae is None:
            return None
        if vae not in _painters:
            _painters[vae] = None  # if the fit fails, it is not repeated in every run
            begun = time.monotonic()
            self.fitting = True
            try:
                is_video = self._request.kind.is_video
                _painters[vae] = LatentPainter(self._pipeline, self._decoder, device, is_video=is_video)
            finally:
                self.fitting = False
            logger.info("previews fitted", extra={"model": self._request.model, "fit_s": time.monotonic() - begun})
        return _painters[vae]


def _copied(*latents: torch.Tensor) -> tuple[list[torch.Tensor], Any]:
    """Start copies to RAM; return them, and for a GPU the event that says when they are complete."""
    copies = [tensor.detach().to("cpu", torch.float32, non_blocking=True, copy=True) for tensor in latents]
    if latents[0].device.type != "cuda":
        return copies, None
    event = torch.cuda.Event()
    event.record()
    return copies, event


def _draw(
    painter: LatentPainter, request: GenerationRequest, copies: list[torch.Tensor], copied: Any, level: Level | None,
    level_before: Level | None = None,
) -> tuple[bytes, str]:  # fmt: skip
    """Return the preview's file and media type. Runs in the reporter's thread."""
    while copied is not None and not copied.query():
        time.sleep(0.005)  # CUDA's own wait would occupy a core
    now, *before = (copy.numpy() for copy in copies)
    if level is not None and level_before is not None:
        picture = without_noise(now, level, before[0], level_before)
    else:
        picture = rescaled(now, level)
    return preview_file.encode(Image.fromarray(painter.paint(picture)), request.width, request.height)
