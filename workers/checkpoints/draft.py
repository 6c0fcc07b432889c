"""Estimate the final sample from one step, to decode a draft of the result."""

from __future__ import annotations

import math
from typing import Any

import torch


def estimated(
    scheduler: Any, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, answer: Any
) -> torch.Tensor | None:  # fmt: skip
    """Return the sample without noise, as far as the step before knows it; None if the scheduler does not say how.

    Args:
        scheduler: the scheduler, after the step.
        model_output: what the model predicted in the step.
        timestep: of the step.
        sample: that the step began with.
        answer: what the step returned.
    """
    if getattr(answer, "pred_original_sample", None) is not None:
        return answer.pred_original_sample
    if model_output.ndim > 1 and model_output.shape[1] == 2 * sample.shape[1]:  # the second half is the variance
        model_output = model_output[:, : sample.shape[1]]
    if model_output.shape != sample.shape:
        return None
    config = scheduler.config
    kind = config.get("prediction_type", "epsilon")
    output, start = model_output.float(), sample.float()
    is_flow = type(scheduler).__name__.startswith("Flow") or config.get("use_flow_sigmas") or kind == "flow_prediction"
    if kind == "sample":
        return model_output
    index = getattr(scheduler, "step_index", None)
    if index and hasattr(scheduler, "sigmas"):
        sigma = float(scheduler.sigmas[index - 1])
        if is_flow:
            return (start - sigma * output).to(sample.dtype)
        signal, noise = 1 / math.hypot(1, sigma), sigma / math.hypot(1, sigma)
        if float(getattr(scheduler, "init_noise_sigma", 1.0)) > 1:  # as in Euler, which never scales the picture down
            start = start * signal
    elif hasattr(scheduler, "alphas_cumprod") and not is_flow:
        share = float(scheduler.alphas_cumprod[int(timestep)])
        signal, noise = math.sqrt(share), math.sqrt(1 - share)
    else:
        return None
    if kind == "v_prediction":
        return (signal * start - noise * output).to(sample.dtype)
    return ((start - noise * output) / signal).to(sample.dtype)
