"""Previews: small pictures of what a run has so far.

A model's latents are turned into colours by a linear map, which is fitted to the model's own decoder once, when the
first preview is due: random latents are decoded, and the mean colour of each cell is explained by its channels. The
step's thread only copies the latents of one picture; drawing is done by the reporter's thread, with numpy, so that
torch's threads are left to the steps.
"""

from __future__ import annotations

import inspect
import io
import logging
import time
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from PIL import Image

from jobs.requests.generation import GenerationRequest
from workers.diffusion.latents import Level, Schedule, cells, difference, evened, without_noise
from workers.reporting.reporter import Reporter

logger = logging.getLogger(__name__)

#: Longest side of a preview, pixels.
MAX_SIDE_PX = 512
MEDIA_TYPE = "image/jpeg"
JPEG_QUALITY = 85
#: Sides of the latents that a map is fitted to, cells; and how many cells there are at least for each channel.
FIT_CELLS = 8
FIT_CELLS_PER_CHANNEL = 5
#: Keeps the fit calm where channels say nothing about colour.
RIDGE = 1e-3


class Canvas:
    """How the latents of one model become colours."""

    def __init__(self, vae: Any, decoder: str | None, device: torch.device) -> None:
        self.channels = _channels(vae)
        weights, self.cell_px = _fit(vae, self.channels, device)
        self._weights, self._offset = weights[:-1], weights[-1]
        self._decoder = _load(decoder, device) if decoder else None

    def paint(self, latents: np.ndarray) -> np.ndarray:
        """(channels, rows, columns) latents → (height, width, 3) uint8 RGB, one pixel for each cell or finer."""
        if self._decoder is not None:
            colours = _decoded(self._decoder, torch.from_numpy(latents)[None])[0].permute(1, 2, 0).cpu().numpy()
        else:
            colours = np.einsum("chw,cd->hwd", latents, self._weights) + self._offset
        return (colours.clip(0, 1) * 255).round().astype(np.uint8)


#: By decoder in memory: a model that leaves takes its canvas along. None: it cannot be fitted.
_canvases: WeakKeyDictionary[Any, Canvas | None] = WeakKeyDictionary()


class Previews:
    """The previews of one run.

    Args:
        pipeline: what runs.
        request: what it makes.
        reporter: knows when somebody asks for previews, and draws and sends them.
        decoder: folder or hub id of an AutoencoderTiny to draw with; None: the linear map.
    """

    def __init__(self, pipeline: Any, request: GenerationRequest, reporter: Reporter, decoder: str | None) -> None:
        self._reporter, self._decoder = reporter, decoder
        self.begin(pipeline, request, 0)
        #: The model's decoder runs for the fit, not for the result.
        self.fitting = False
        self._broken = False

    def begin(self, pipeline: Any, request: GenerationRequest, steps_before: int) -> None:
        """A call of this pipeline begins, with pictures of this request's size, after so many steps of the run."""
        self._pipeline, self._request, self._steps_before = pipeline, request, steps_before
        self._schedule: Schedule | None = None
        self._before: tuple[torch.Tensor, Level] | None = None

    def step(self, done: int, latents: torch.Tensor | None) -> None:
        """After a step of this call: copy its latents if a preview is wanted and due. Never raises an Exception."""
        if self._broken or latents is None or not self._reporter.preview_wanted:
            self._before = None
            return
        try:
            self._step(done, latents)
        except Exception:
            self._broken = True
            logger.warning("no previews of this run", exc_info=True, extra={"model": self._request.model})

    def _step(self, done: int, latents: torch.Tensor) -> None:
        canvas = self._canvas(latents.device)
        if canvas is None:
            self._broken = True
            return
        rows, columns = (side // canvas.cell_px for side in (self._request.height, self._request.width))
        picture = cells(self._pipeline, latents, canvas.channels, rows, columns)
        if picture is None:
            self._broken = True
            logger.info("no previews: unknown latents", extra={"model": self._request.model})
            return
        self._schedule = self._schedule or Schedule(self._pipeline)
        level, shown = self._schedule.after(done), self._steps_before + done
        if level is None or not self._schedule.is_deterministic:
            if self._reporter.preview_due():
                self._reporter.preview(shown, partial(_draw, canvas, self._request, *_copied(picture), level))
            return
        if self._before is not None and not difference(level, self._before[1]):
            return  # the picture is told by two levels
        before, self._before = self._before, (picture, level)
        if before is not None and self._reporter.preview_due():
            copies = _copied(picture, before[0])
            self._reporter.preview(shown, partial(_draw, canvas, self._request, *copies, level, before[1]))

    def _canvas(self, device: torch.device) -> Canvas | None:
        vae = getattr(self._pipeline, "vae", None)
        if vae is None:
            return None
        if vae not in _canvases:
            _canvases[vae] = None  # what fails is not tried in every run
            begun = time.monotonic()
            self.fitting = True
            try:
                _canvases[vae] = Canvas(vae, self._decoder, device)
            finally:
                self.fitting = False
            logger.info("previews fitted", extra={"model": self._request.model, "fit_s": time.monotonic() - begun})
        return _canvases[vae]


def _copied(*latents: torch.Tensor) -> tuple[list[torch.Tensor], Any]:
    """Copies in this machine's memory, and (of a GPU's) the event that tells that they are complete: nobody waits."""
    copies = [one.detach().to("cpu", torch.float32, non_blocking=True, copy=True) for one in latents]
    if latents[0].device.type != "cuda":
        return copies, None
    event = torch.cuda.Event()
    event.record()
    return copies, event


def _draw(
    canvas: Canvas, request: GenerationRequest, copies: list[torch.Tensor], copied: Any, level: Level | None,
    level_before: Level | None = None,
) -> tuple[bytes, str]:  # fmt: skip
    """The preview's file and media type. Runs in the reporter's thread."""
    while copied is not None and not copied.query():
        time.sleep(0.005)  # without CUDA's own wait, which burns a core
    now, *before = (copy.numpy() for copy in copies)
    if level is not None and level_before is not None:
        picture = without_noise(now, level, before[0], level_before)
    else:
        picture = evened(now, level)
    image = Image.fromarray(canvas.paint(picture))
    scale = min(1.0, MAX_SIDE_PX / max(request.width, request.height))
    size = (max(1, round(request.width * scale)), max(1, round(request.height * scale)))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue(), MEDIA_TYPE


def _channels(vae: Any) -> int:
    return int(vae.config.get("latent_channels") or vae.config["z_dim"])


def _fit(vae: Any, channels: int, device: torch.device) -> tuple[np.ndarray, int]:
    """Explain a decoder's colours by its latents.

    Returns:
        (channels + 1, 3) weights, the last row the offset, for colours in 0..1; and pixels of a cell's side.

    Raises:
        ValueError: the decoder gives no colours.
    """
    noise = torch.Generator("cpu").manual_seed(0)
    number = max(4, -(-FIT_CELLS_PER_CHANNEL * channels // FIT_CELLS**2))
    # Patches of all sizes, as pictures have them; noise alone decodes to nothing like a picture.
    latents = torch.zeros(number, channels, FIT_CELLS, FIT_CELLS)
    for patches in (1, 2, 4, 8):
        patch = torch.randn(number, channels, patches, patches, generator=noise)
        latents += torch.nn.functional.interpolate(patch, size=(FIT_CELLS, FIT_CELLS)) / 2
    colours = _decoded(vae, latents.to(device))
    cell_px = colours.shape[-1] // FIT_CELLS
    means = torch.nn.functional.avg_pool2d(colours.cpu(), cell_px).permute(0, 2, 3, 1).reshape(-1, 3)
    if not torch.isfinite(means).all():
        raise ValueError("the decoder gives no colours for random latents")
    known = torch.cat([latents.permute(0, 2, 3, 1).reshape(-1, channels), torch.ones(len(means), 1)], dim=1)
    square = known.T @ known + RIDGE * len(means) * torch.eye(channels + 1)
    return torch.linalg.solve(square, known.T @ means).numpy(), cell_px


def _decoded(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(n, channels, h, w) latents of a pipeline → (n, 3, height, width) colours in 0..1; of videos the later frames."""
    config, shape = vae.config, (1, -1, 1, 1)

    def constant(name: str, default: float) -> torch.Tensor:
        value = config[name] if name in config else getattr(vae, name, None)
        value = torch.as_tensor(default if value is None else value, dtype=torch.float32, device=latents.device)
        return value.view(shape) if value.ndim else value

    shift = constant("latents_mean", 0) + constant("shift_factor", 0)
    latents = latents * constant("latents_std", 1) / constant("scaling_factor", 1) + shift
    parameters = inspect.signature(vae.decode).parameters
    more: dict[str, Any] = {}
    if "num_frames" in parameters:  # Stable Video Diffusion's: frames are pictures of a batch
        more["num_frames"] = 1
    elif any(isinstance(module, torch.nn.Conv3d) for module in vae.modules()):
        latents = latents[:, :, None].expand(-1, -1, 2, -1, -1)  # the first frame of a video is coded in another way
    if "temb" in parameters and config.get("timestep_conditioning"):
        more["temb"] = torch.full((len(latents),), 0.05, device=latents.device)
    # In half precision some decoders overflow, and say so.
    raised = bool(config.get("force_upcast")) and vae.dtype == torch.float16
    dtype = vae.dtype
    if raised:
        vae.to(torch.float32)
    try:
        with torch.inference_mode():
            colours = vae.decode(latents.to(vae.device, vae.dtype), **more).sample.float() / 2 + 0.5
    finally:
        if raised:
            vae.to(dtype)
    if colours.ndim == 5:
        colours = colours[:, :, colours.shape[2] // 2 :].mean(2)
    return colours.clamp(0, 1)


def _load(decoder: str, device: torch.device) -> Any:
    from diffusers import AutoencoderTiny

    return AutoencoderTiny.from_pretrained(decoder, use_safetensors=True).to(device)
