"""Paint latents: turn the latents of a model into colours, without its decoder.

A linear map does it. The map is fitted to the model's own decoder: random latents are decoded, and the mean colour of
each cell is regressed on its channels.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from workers.diffusion.latent_space import LatentSpace, decoder_of

#: Side of the latents for the fit, cells; and the least number of cells for each channel.
FIT_CELLS = 8
FIT_CELLS_PER_CHANNEL = 5
#: Regularises the fit for channels that do not correlate with colour.
RIDGE = 1e-3


class LatentPainter:
    """Turns the latents of one model into colours."""

    def __init__(self, pipeline: Any, decoder: str | None, device: torch.device, *, is_video: bool) -> None:
        """Fit a pipeline's decoder.

        Args:
            pipeline: the pipeline.
            decoder: folder or hub id of an AutoencoderTiny to draw with; None: the linear map.
            device: where to decode.
            is_video: whether it makes videos.
        """
        self._space = LatentSpace(pipeline)
        self.channels = self._space.channels
        weights, self.cell_px = _fit(decoder_of(pipeline), self._space, device, frames=2 if is_video else 1)
        self._weights, self._offset = weights[:-1], weights[-1]
        self._decoder = _load(decoder, device) if decoder else None

    def paint(self, latents: np.ndarray) -> np.ndarray:
        """Turn (channels, rows, columns) latents into (height, width, 3) uint8 RGB, at least one pixel per cell."""
        latents = self._space.even(latents)
        if self._decoder is not None:
            colours = _decoded(self._decoder, torch.from_numpy(latents)[None])[0].permute(1, 2, 0).cpu().numpy()
        else:
            colours = np.einsum("chw,cd->hwd", latents, self._weights) + self._offset
        return (colours.clip(0, 1) * 255).round().astype(np.uint8)


def _fit(vae: Any, space: LatentSpace, device: torch.device, *, frames: int) -> tuple[np.ndarray, int]:
    """Regress a decoder's colours on its latents.

    Returns:
        (channels + 1, 3) weights for colours in 0..1, the last row being the offset; and the side of a cell, pixels.

    Raises:
        ValueError: the decoder returns values that are not finite.
    """
    noise, channels = torch.Generator("cpu").manual_seed(0), space.channels
    number = max(4, -(-FIT_CELLS_PER_CHANNEL * channels // FIT_CELLS**2))
    # Patches of all sizes, as in pictures; pure noise does not decode to anything like a picture.
    latents = torch.zeros(number, channels, FIT_CELLS, FIT_CELLS)
    for patches in (1, 2, 4, 8):
        patch = torch.randn(number, channels, patches, patches, generator=noise)
        latents += torch.nn.functional.interpolate(patch, size=(FIT_CELLS, FIT_CELLS)) / 2
    colours = _decoded(vae, space.decodable(latents).to(device), frames)
    cell_px = colours.shape[-1] // FIT_CELLS
    means = torch.nn.functional.avg_pool2d(colours.cpu(), cell_px).permute(0, 2, 3, 1).reshape(-1, 3)
    if not torch.isfinite(means).all():
        raise ValueError("the decoder returns no colours for random latents")
    known = torch.cat([latents.permute(0, 2, 3, 1).reshape(-1, channels), torch.ones(len(means), 1)], dim=1)
    square = known.T @ known + RIDGE * len(means) * torch.eye(channels + 1)
    return torch.linalg.solve(square, known.T @ means).numpy(), cell_px


def _decoded(vae: Any, latents: torch.Tensor, frames: int = 1) -> torch.Tensor:
    """Decode (n, channels, h, w) latents to (n, 3, height, width) colours in 0..1.

    ``frames``: how many frames of these latents a video decoder gets; the later ones are returned, because the first
    frame of a video is encoded differently.
    """
    config = vae.config
    parameters = inspect.signature(vae.decode).parameters
    extra: dict[str, Any] = {}
    if "num_frames" in parameters:  # Stable Video Diffusion: frames are pictures of a batch
        extra["num_frames"] = 1
    elif any(isinstance(module, torch.nn.Conv3d) for module in vae.modules()):
        latents = latents[:, :, None].expand(-1, -1, frames, -1, -1)
    if "force_not_quantize" in parameters:  # Kandinsky 2 and 3
        extra["force_not_quantize"] = True
    if "temb" in parameters and config.get("timestep_conditioning"):
        extra["temb"] = torch.full((len(latents),), 0.05, device=latents.device)
    # Some decoders overflow in half precision, and declare it.
    is_upcast = bool(config.get("force_upcast")) and vae.dtype == torch.float16
    dtype = vae.dtype
    if is_upcast:
        vae.to(torch.float32)
    try:
        with torch.inference_mode():
            colours = vae.decode(latents.to(vae.device, vae.dtype), **extra).sample.float() / 2 + 0.5
    finally:
        if is_upcast:
            vae.to(dtype)
    if colours.ndim == 5:
        colours = colours[:, :, colours.shape[2] // 2 :].mean(2)
    return colours.clamp(0, 1)


def _load(decoder: str, device: torch.device) -> Any:
    from diffusers import AutoencoderTiny

    return AutoencoderTiny.from_pretrained(decoder, use_safetensors=True).to(device)
