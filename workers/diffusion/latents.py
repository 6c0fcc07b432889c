"""Read a pipeline's latents: the cells of one picture, and what they will be without noise."""

from __future__ import annotations

import math
from typing import Any

import torch

#: Schedulers that add new noise in a step, so that two latents do not determine the picture.
_STOCHASTIC = ("Ancestral", "SDE", "DDPM", "LCM", "TCD", "SCM", "Stochastic", "CosineDPM", "SASolver")
#: Pipelines whose latents of a video are (batch, frames, channels, height, width).
_FRAMES_FIRST = ("CogVideoX", "ConsisID", "StableVideoDiffusion")
#: Pipelines whose latents are (batch, frames, height, width, channels). What follows the channels is an input.
_CHANNELS_LAST = ("Kandinsky5", "Kandinsky6")
#: Noise levels closer than this count as equal: some solvers visit each level twice.
_LEAST_DIFFERENCE = 1e-4

#: The shares of picture and noise in latents: latents = picture · first + noise · second.
Level = tuple[float, float]


def cells(pipeline: Any, latents: torch.Tensor, channels: int, rows: int, columns: int) -> torch.Tensor | None:
    """Return (channels, rows, columns) of the first picture of a batch, or of the middle frame of the first video.

    The result is a view. Latents may be maps, (batch, channels, frames, height, width) or in CogVideoX' order, with
    the channels last as in Kandinsky 5, or rows of tokens, each of one cell or of 2×2 cells. None: the layout is
    unknown.
    """
    first = latents[0]
    if type(pipeline).__name__.startswith(_CHANNELS_LAST):
        first = first[..., :channels].permute(3, 0, 1, 2) if first.ndim == 4 else first.flatten()
    if first.ndim == 4:
        frames_first = type(pipeline).__name__.startswith(_FRAMES_FIRST) or first.shape[0] != channels
        first = first.transpose(0, 1) if frames_first else first
        first = first[:, first.shape[1] // 2]
    elif first.ndim == 2:
        patch = math.isqrt(first.shape[1] // channels)
        if not patch or channels * patch * patch != first.shape[1]:
            return None
        high, wide = rows // patch, columns // patch
        frames = first.shape[0] // max(1, high * wide)
        if not frames or frames * high * wide != first.shape[0]:
            return None
        tokens = first.reshape(frames, high, wide, channels, patch, patch)[frames // 2]
        first = tokens.permute(2, 0, 3, 1, 4).reshape(channels, high * patch, wide * patch)
    return first if first.ndim == 3 and first.shape[0] == channels else None


class Schedule:
    """The noise levels of one run. Read from its scheduler once: reading a GPU's memory in each step would delay it."""

    def __init__(self, pipeline: Any) -> None:
        self._scheduler = scheduler = pipeline.scheduler
        config = scheduler.config
        #: Whether a step adds no noise.
        self.is_deterministic = not (
            any(word in type(scheduler).__name__ for word in _STOCHASTIC)
            or str(config.get("algorithm_type", "")).startswith("sde")
        )
        self._steps = getattr(pipeline, "num_timesteps", None)
        self._levels: list[Level] = []
        self._by_index = hasattr(scheduler, "sigmas") and hasattr(scheduler, "step_index")
        if self._by_index:
            flow = config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction"
            start = getattr(scheduler, "init_noise_sigma", None)
            if flow or start is None:
                self._levels = [(1 - sigma, sigma) for sigma in scheduler.sigmas.tolist()]
            elif float(start) > 1:  # as in Euler, which never scales the picture down
                self._levels = [(1.0, sigma) for sigma in scheduler.sigmas.tolist()]
            else:
                self._levels = [(1 / math.hypot(1, s), s / math.hypot(1, s)) for s in scheduler.sigmas.tolist()]
        elif hasattr(scheduler, "alphas_cumprod") and hasattr(scheduler, "timesteps"):
            alphas = scheduler.alphas_cumprod.tolist()
            shares = [alphas[int(time)] for time in scheduler.timesteps.tolist()]
            shares.append(float(getattr(scheduler, "final_alpha_cumprod", 1.0)))
            self._levels = [(math.sqrt(share), math.sqrt(1 - share)) for share in shares]

    def after(self, done: int) -> Level | None:
        """Return the level after ``done`` steps; None if unknown."""
        if self._by_index:
            at = self._scheduler.step_index
        else:  # a run that begins in the middle (img2img) ends at the same level
            at = len(self._levels) - 1 - (self._steps or len(self._levels) - 1) + done
        return self._levels[at] if at is not None and 0 <= at < len(self._levels) else None


def difference(level: Level, level_before: Level) -> float:
    """Return how far two levels are apart; 0 if they count as equal."""
    determinant = level_before[1] * level[0] - level[1] * level_before[0]
    return determinant if abs(determinant) >= _LEAST_DIFFERENCE else 0.0


def without_noise(now: Any, level: Level, before: Any, level_before: Level) -> Any:
    """Estimate the final latents from those at two levels: two equations for two unknowns, the picture and the noise.

    Exact for first-order solvers; higher orders are a little ahead. Takes arrays or tensors of the same shape.
    """
    return (level_before[1] * now - level[1] * before) / difference(level, level_before)


def rescaled(now: Any, level: Level | None) -> Any:
    """Return noisy latents at the scale of finished ones."""
    return now if level is None else now / max(1.0, math.hypot(*level))
