"""The input files of a run by field of the request, as its pipeline takes them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from jobs.models.spec import ModelSpec
from jobs.objects.reading import Readable, read_all
from jobs.requests.generation import GenerationRequest
from workers.diffusion.inputs import fitting, recordings
from workers.diffusion.inputs.inpainting import CELL_PX, Painting


class Inputs:
    """The inputs of a pipeline, and the composition of its output, which is unchanged without a mask."""

    def __init__(
        self, values: Mapping[str, Any], size: tuple[int, int], painting: Painting | None = None
    ) -> None:  # fmt: skip
        self._values, self._size, self._painting = values, size, painting

    def fitted(self, picture: Image.Image, resize: str) -> Image.Image:
        """Return a picture that is laid over the output, in the size of the run; ``resize``: one of ``RESIZES``."""
        if self._painting:
            return self._painting.fitted(picture, resize)
        return fitting.fit(picture.size, self._size, resize).apply(picture)

    def of(self, seed: int, variation_seed: int | None = None) -> dict[str, Any]:
        """Return the inputs for the output with these seeds, by field of the request."""
        painted = self._painting.of(seed, variation_seed) if self._painting else {}
        return {**self._values, **painted}

    def finished(self, frames: np.ndarray) -> np.ndarray:
        """Turn a pipeline's (images, frames, height, width, 3) uint8 RGB into the output, which may be larger."""
        return self._painting.finished(frames) if self._painting else frames


def inputs_of(pipeline: Any, spec: ModelSpec, request: GenerationRequest, objects: Readable | None) -> Inputs:
    """Read the inputs of a request.

    Raises:
        ObjectNotFound, Unavailable.
        ExecutionError: a video or sound cannot be decoded.
    """
    size, painting = (request.width, request.height), None
    if objects is None:
        return Inputs({}, size)
    values: dict[str, Any] = {}
    if request.images:
        # In their own sizes: pipelines scale reference images themselves.
        images = [load_picture(objects, key) for key in request.images]
        values["images"] = images if spec.limit("images").high > 1 else images[0]
    if request.image:
        image = load_picture(objects, request.image)
        if request.mask:
            mask = load_picture(objects, request.mask, mode="L")
            painting = Painting(image, mask, request, _cell_px(pipeline))
        else:
            values["image"] = fitting.fit(image.size, size, request.resize or "stretch").apply(image)
    if request.last_image:
        last = load_picture(objects, request.last_image)
        # The shape of the output is that of the first image, not of this one.
        values["last_image"] = fitting.fit(last.size, size, request.resize or "crop").apply(last)
    if request.video:
        values["video"] = _clip(spec, request, read_all(objects, request.video))
    if request.audio:
        sound = read_all(objects, request.audio)
        values["audio"] = recordings.samples(sound, request.audio.rpartition(".")[2], rate_hz=spec.audio_rate_hz)
    return Inputs(values, size, painting)


def load_picture(objects: Readable, key: str, mode: str = "RGB") -> Image.Image:
    """Return a stored picture in this mode of Pillow."""
    return Image.open(io.BytesIO(read_all(objects, key))).convert(mode)


def _clip(spec: ModelSpec, request: GenerationRequest, content: bytes) -> list[Image.Image]:
    """Return the frames of the input video: those of the output, or fewer if the model makes the video longer."""
    frames = recordings.frames(
        content, str(request.video).rpartition(".")[2], fps=request.fps, count=request.frames,
        size=(request.width, request.height), resize=request.resize or "stretch",
    )  # fmt: skip
    if spec.offers("frames", request.kind):
        return frames[: len(frames) - (len(frames) - 1) % spec.frames_step]
    return frames + frames[-1:] * (request.frames - len(frames))


def _cell_px(pipeline: Any) -> int:
    """Return the side of the pixels of one latent."""
    scales = (getattr(pipeline, name, None) for name in ("vae_scale_factor", "movq_scale_factor"))
    return next((scale for scale in scales if isinstance(scale, int)), CELL_PX)
