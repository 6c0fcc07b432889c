"""An image and its mask: fit them to the size of the run, prepare the masked area, and compose the result."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn.functional import interpolate, pad

from jobs.requests.generation import GenerationRequest
from jobs.requests.inpaint import Inpaint
from workers.diffusion.inputs import fitting

#: Darkest grey that counts as white in a mask.
HALF_WAY = 128
#: Default side of the pixels of one latent, for pipelines that do not declare it.
CELL_PX = 8
#: Colour of fill ``nothing``, and of fill ``blurred`` without surroundings.
GREY = 127


class Painting:
    """An image and its mask. The output is the image with the painted area composed over it through the softened mask.

    Args:
        image: RGB.
        mask: L, of any size; it covers the whole image. White is painted.
        request: says how both are used.
        cell_px: side of the pixels of one latent.
    """

    def __init__(self, image: Image.Image, mask: Image.Image, request: GenerationRequest, cell_px: int) -> None:
        options, size = Inpaint.of(request.inpaint), (request.width, request.height)
        is_masked = options.area == "masked"
        # The image to paint on, in the size of the output.
        whole = fitting.fit(image.size, image.size if is_masked else size, request.resize or "stretch")
        self._original, sharp = whole.apply(image), _sharpened(whole.apply(_sharpened(mask), black_border=True))
        everything = (0, 0, *self._original.size)
        soft, reach = _softened(sharp, options.blur_px)
        self._region = everything
        if is_masked and reach:
            reach = fitting.grown(reach, options.padding_px, self._original.size)
            self._region = fitting.widened(reach, size, self._original.size)
        self._soft = soft.crop(self._region)
        left, top, right, bottom = self._region
        self._fit = fitting.fit((right - left, bottom - top), size, "pad")
        start = self._fit.apply(self._original.crop(self._region))
        # Every latent with some white is painted. Pipelines read one pixel of each latent, so one that is partly white
        # might keep what has to be replaced.
        scaled = self._fit.apply(sharp.crop(self._region), black_border=True, by=Image.Resampling.BOX)
        self._mask = _covering(_sharpened(scaled, 1), cell_px)
        if options.fill == "blurred":
            start = Image.composite(_filled(start, self._mask), start, self._mask)
        elif options.fill == "nothing":
            start.paste((GREY,) * 3, mask=self._mask)
        self._start = start
        self._noise_px = cell_px if options.fill == "noise" else 0
        #: Share of the noise of the variation's seed.
        self._share = request.variation["strength"] if request.variation else 0.0

    def of(self, seed: int, variation_seed: int | None = None) -> dict[str, Image.Image]:
        """Return the pictures for the output with these seeds, by field of the request."""
        image = self._start
        if self._noise_px:
            noise = _noise(image.size, self._noise_px, seed)
            if variation_seed is not None:
                noise = Image.blend(noise, _noise(image.size, self._noise_px, variation_seed), self._share)
            image = Image.composite(noise, image, self._mask)
        return {"image": image, "mask": self._mask}

    def fitted(self, picture: Image.Image, resize: str) -> Image.Image:
        """Return the painted area of a picture that is laid over the image, in the size of the run."""
        whole = fitting.fit(picture.size, self._original.size, resize).apply(picture)
        return self._fit.apply(whole.crop(self._region))

    def finished(self, frames: np.ndarray) -> np.ndarray:
        """Turn a pipeline's (images, frames, height, width, 3) uint8 RGB into the output, which may be larger."""
        return np.stack([self._composed(clip[0])[None] for clip in frames])

    def _composed(self, painted: np.ndarray) -> np.ndarray:
        """Compose (height, width, 3) uint8 RGB over the image."""
        output = self._original.copy()
        output.paste(self._fit.back(Image.fromarray(painted)), self._region[:2], self._soft)
        return np.asarray(output)


def _sharpened(mask: Image.Image, white: int = HALF_WAY) -> Image.Image:
    """Reduce to black and white; ``white`` is the darkest grey that becomes white."""
    return mask.point([0] * white + [255] * (256 - white))


def _covering(mask: Image.Image, cell_px: int) -> Image.Image:
    """Grow the mask to whole cells of ``cell_px`` pixels."""
    width, height = mask.size
    pixels = np.pad(np.asarray(mask), ((0, -height % cell_px), (0, -width % cell_px)))
    cells = pixels.reshape(-(-height // cell_px), cell_px, -(-width // cell_px), cell_px).max(axis=(1, 3))
    return Image.fromarray(cells.repeat(cell_px, 0).repeat(cell_px, 1)[:height, :width])


def _softened(mask: Image.Image, blur_px: float) -> tuple[Image.Image, fitting.Box | None]:
    """Return the mask with a soft border, and the box around what is not black in it (None: all is black)."""
    box = mask.getbbox()
    if box is None or not blur_px:
        return mask, box
    # Blur only around the mask, which may be small in a large image.
    near = fitting.grown(box, math.ceil(4 * blur_px) + 4, mask.size)
    soft = mask.copy()
    soft.paste(mask.crop(near).filter(ImageFilter.GaussianBlur(blur_px)), near[:2])
    return soft, soft.getbbox()


def _noise(size: fitting.Size, patch_px: int, seed: int) -> Image.Image:
    """Return patches of random colours as large as a latent; of finer noise an encoder sees little but the mean."""
    columns, rows = -(-size[0] // patch_px), -(-size[1] // patch_px)
    numbers = torch.Generator("cpu").manual_seed(seed)
    patches = Image.fromarray(torch.randint(256, (rows, columns, 3), generator=numbers, dtype=torch.uint8).numpy())
    return patches.resize((columns * patch_px, rows * patch_px), Image.Resampling.NEAREST).crop((0, 0, *size))


def _filled(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Fill the masked area with the colours of its surroundings."""
    pixels = torch.from_numpy(np.array(image)).movedim(-1, 0)[None].float()
    known = torch.from_numpy(np.array(mask) == 0)[None, None].float()
    filled = _extended(pixels * known, known)[0].movedim(0, -1)
    return Image.fromarray(filled.round().to(torch.uint8).numpy())


def _extended(colours: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Extend known colours into unknown areas, the smoother the farther away.

    Args:
        colours: (1, 3, height, width), times ``known``.
        known: (1, 1, height, width), certainty of each pixel, 0 to 1.
    """
    size = known.shape[-2:]
    if max(size) == 1:
        return colours / known if known.item() else torch.full_like(colours, GREY)
    half_known, half_colours = _halved(known), _halved(colours)
    # One known pixel of four is enough for their common colour.
    certainty = (4 * half_known).clamp(max=1)
    coarse = _extended(half_colours * certainty / half_known.clamp(min=1e-9), certainty)
    return colours + (1 - known) * interpolate(coarse, size=size, mode="bilinear")


def _halved(pixels: torch.Tensor) -> torch.Tensor:
    """Halve (1, channels, height, width): each pixel is a smooth average of 4 × 4, with 0 beyond the edge."""
    height, width = pixels.shape[-2:]
    padded = pad(pixels, (1, 1 + width % 2, 1, 1 + height % 2))
    weights = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return (padded.unfold(-1, 4, 2) @ weights).unfold(-2, 4, 2) @ weights
