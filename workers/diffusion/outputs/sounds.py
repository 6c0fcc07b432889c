"""Convert the sound that a pipeline made beside its pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from jobs.errors import ExecutionError
from workers.spool.sound import Sound

#: Attributes of a pipeline's output that contain sound: LTX-2 and Kandinsky 6, Cosmos 3.
_ATTRIBUTES = ("audio", "sound")
#: Where pipelines state the sampling rate: a component, and the key of its configuration. The last part that makes the
#: sound comes first.
_RATES = (
    ("vocoder", "output_sampling_rate"),
    ("sound_tokenizer", "sampling_rate"),
    ("vocoder", "sampling_rate"),
    ("audio_vae", "sample_rate"),
)
_FULL_SCALE = 32_767


def of_output(pipeline: Any, output: Any) -> Sound | None:
    """Return the sound of the one video of a call; None if there is none.

    Args:
        pipeline: the pipeline, whose components state the sampling rate.
        output: the return value of the call. Sound is (videos, channels, samples), (channels, samples) or (samples),
            floats in -1..1.

    Raises:
        ExecutionError: its shape or its sampling rate is unknown, or it is not finite.
    """
    raw = next((value for name in _ATTRIBUTES if (value := getattr(output, name, None)) is not None), None)
    if raw is None:
        return None
    waves = raw.detach().float().cpu().numpy() if isinstance(raw, torch.Tensor) else np.asarray(raw, np.float32)
    if waves.ndim == 3 and len(waves) == 1:
        waves = waves[0]
    waves = np.atleast_2d(waves)
    if waves.ndim != 2 or len(waves) not in (1, 2):
        raise ExecutionError(f"the pipeline returned sound of shape {np.shape(raw)}")
    if not waves.shape[1]:
        return None
    if not np.isfinite(waves).all():
        raise ExecutionError("the model produced no sound (not-a-number values): try another dtype")
    rate_hz = getattr(output, "sampling_rate", None) or _rate_of(pipeline)
    return Sound((waves.clip(-1, 1) * _FULL_SCALE).round().astype(np.int16), int(rate_hz))


def _rate_of(pipeline: Any) -> int:
    """Return the samples per second. Raises: ExecutionError."""
    for component, key in _RATES:
        rate = getattr(getattr(getattr(pipeline, component, None), "config", None), key, None)
        if rate:
            return int(rate)
    raise ExecutionError(f"{type(pipeline).__name__} returned sound, but states no sampling rate")
