"""Check outputs before they are encoded; includes an example of a check."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from jobs import moderation
from jobs.errors import ModerationRefused, Problem
from jobs.process import hooks
from jobs.record import Job
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings

#: (clip, request, settings) → whether the clip is refused. A clip is (frames, height, width, 3) uint8 RGB.
OutputCheck = Callable[[np.ndarray, GenerationRequest, Settings], bool]

#: Longer side of the small picture that a blurred picture is made from, pixels.
BLURRED_PX = 12
#: The example check reads every n-th frame of a video, and every n-th pixel of a row and of a column.
FRAME_STRIDE, PIXEL_STRIDE = 4, 2
#: Skin of all tones in the colour plane of YCbCr (Chai and Ngan, 1999), whatever the brightness Y.
CB_OF_SKIN, CR_OF_SKIN = (77, 127), (133, 173)


def moderated(job: Job, clips: list[np.ndarray], settings: Settings) -> tuple[list[np.ndarray], list[bool]]:
    """Return the outputs as they may be stored.

    Args:
        job: the job.
        clips: for each output (frames, height, width, 3) uint8 RGB.
        settings: name the check, and what happens to refused outputs.

    Returns:
        The clips, and for each whether it was blurred.

    Raises:
        ModerationRefused: nothing may be stored.
        Exception: whatever the check raises; the delivery is retried, and nothing is stored unchecked.
    """
    if not moderation.hides_outputs(settings, moderate=job.moderate):
        return clips, [False] * len(clips)
    check: OutputCheck = hooks.load("MODERATION_OUTPUTS", settings.moderation.outputs)
    refusals = [bool(check(clip, job.request, settings)) for clip in clips]
    if any(refusals) and settings.moderation.mode == "block":
        raise ModerationRefused(Problem("outputs", "are refused by this server's moderation"))
    return [blur(clip) if refused else clip for clip, refused in zip(clips, refusals, strict=True)], refusals


def blur(clip: np.ndarray) -> np.ndarray:
    """Remove all detail finer than a twelfth of the longer side; it cannot be restored."""
    height, width = clip.shape[1:3]
    scale = BLURRED_PX / max(height, width)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    frames = [
        Image.fromarray(frame).resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BICUBIC)
        for frame in clip
    ]
    return np.stack([np.asarray(frame) for frame in frames])


def skin(clip: np.ndarray, request: GenerationRequest, settings: Settings) -> bool:
    """Example of a check: refuse a clip if a frame has ``MODERATION_SKIN_SHARE`` or more skin-coloured pixels.

    It only knows colours: sand and wood are skin-coloured too, a black and white picture never is.
    """
    return any(skin_share(frame) >= settings.moderation.skin_share for frame in clip[::FRAME_STRIDE])


def skin_share(frame: np.ndarray) -> float:
    """Return the share of skin-coloured pixels in (height, width, 3) uint8 RGB."""
    ycbcr = np.asarray(Image.fromarray(np.ascontiguousarray(frame[::PIXEL_STRIDE, ::PIXEL_STRIDE])).convert("YCbCr"))
    cb, cr = ycbcr[..., 1], ycbcr[..., 2]
    is_skin = (cb >= CB_OF_SKIN[0]) & (cb <= CB_OF_SKIN[1]) & (cr >= CR_OF_SKIN[0]) & (cr <= CR_OF_SKIN[1])
    return float(is_skin.mean())
