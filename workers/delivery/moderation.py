"""The check of outputs, after they are computed and before they are encoded; and one that comes with Framemill."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from jobs import moderation
from jobs.errors import ModerationRefused, Problem
from jobs.record import Job
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings

#: A clip, (frames, height, width, 3) uint8 RGB, its request and the settings → whether it is refused.
OutputCheck = Callable[[np.ndarray, GenerationRequest, Settings], bool]

#: Longer side of what a blurred picture is made from, pixels.
BLURRED_PX = 12
#: Of a video every so-manieth frame is looked at; of a picture every so-manieth pixel of a row and of a column.
FRAME_STRIDE, PIXEL_STRIDE = 4, 2
#: Where skin of all tones lies in the colour plane of YCbCr (Chai and Ngan, 1999); Y, the brightness, does not count.
CB_OF_SKIN, CR_OF_SKIN = (77, 127), (133, 173)


def moderated(job: Job, clips: list[np.ndarray], settings: Settings) -> tuple[list[np.ndarray], list[bool]]:
    """The outputs as they may be stored.

    Args:
        job: whose they are.
        clips: for each output (frames, height, width, 3) uint8 RGB.
        settings: which check, and what happens to what it refuses.

    Returns:
        The clips, and for each whether it was blurred.

    Raises:
        ModerationRefused: nothing may be stored.
        Exception: what the check raised; the delivery is tried again, and nothing is stored without a check.
    """
    if not moderation.hides_outputs(settings, moderate=job.moderate):
        return clips, [False] * len(clips)
    check: OutputCheck = moderation.load("MODERATION_OUTPUTS", settings.moderation.outputs)
    refused = [bool(check(clip, job.request, settings)) for clip in clips]
    if any(refused) and settings.moderation.mode == "block":
        raise ModerationRefused(Problem("outputs", "are refused by this server's moderation"))
    return [blur(clip) if bad else clip for clip, bad in zip(clips, refused, strict=True)], refused


def blur(clip: np.ndarray) -> np.ndarray:
    """The clip with no detail finer than a twelfth of its longer side: what is left cannot be sharpened again."""
    height, width = clip.shape[1:3]
    scale = BLURRED_PX / max(height, width)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    frames = [
        Image.fromarray(frame).resize(small, Image.Resampling.BOX).resize((width, height), Image.Resampling.BICUBIC)
        for frame in clip
    ]
    return np.stack([np.asarray(frame) for frame in frames])


def skin(clip: np.ndarray, request: GenerationRequest, settings: Settings) -> bool:
    """The check that comes with Framemill, as an example: is much of a frame skin-coloured?

    It knows colours, not what is to be seen: sand and wood are skin-coloured as well, a black and white picture never
    is. ``MODERATION_SKIN_SHARE`` is the share from which it refuses.
    """
    return any(skin_share(frame) >= settings.moderation.skin_share for frame in clip[::FRAME_STRIDE])


def skin_share(frame: np.ndarray) -> float:
    """Share of the pixels of (height, width, 3) uint8 RGB that are skin-coloured."""
    ycbcr = np.asarray(Image.fromarray(np.ascontiguousarray(frame[::PIXEL_STRIDE, ::PIXEL_STRIDE])).convert("YCbCr"))
    cb, cr = ycbcr[..., 1], ycbcr[..., 2]
    inside = (cb >= CB_OF_SKIN[0]) & (cb <= CB_OF_SKIN[1]) & (cr >= CR_OF_SKIN[0]) & (cr <= CR_OF_SKIN[1])
    return float(inside.mean())
