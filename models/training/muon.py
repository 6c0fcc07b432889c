"""The optimiser of the denoisers: orthogonalised momentum for matrices and convolutions, AdamW for all the
rest.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def orthogonal(matrix: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """A matrix (m, n) with its singular values pushed towards one, by a Newton-Schulz iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).float()
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal, as the step of every matrix; convolution kernels count as matrices (out,
    rest).
    """

    def __init__(self, params: Iterable[dict], lr: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "betas": (0.9, 0.98)})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step; groups with `plain=True` are stepped as AdamW."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                param.mul_(1 - group["lr"] * group["weight_decay"])
                if group["plain"]:
                    self._adam(param, group)
                else:
                    self._muon(param, group)

    def _muon(self, param: torch.Tensor, group: dict) -> None:
        state = self.state[param]
        if not state:
            state["speed"] = torch.zeros_like(param)
        state["speed"].lerp_(param.grad, 1 - group["momentum"])
        ahead = param.grad.lerp(state["speed"], group["momentum"]).flatten(1)
        # The factor gives the step the size that AdamW's steps have, so that both share one learning rate.
        factor = 0.2 * max(ahead.shape) ** 0.5
        param.add_(orthogonal(ahead).view_as(param), alpha=-group["lr"] * factor)

    def _adam(self, param: torch.Tensor, group: dict) -> None:
        state = self.state[param]
        if not state:
            state["count"], state["mean"], state["square"] = (
                0,
                torch.zeros_like(param),
                torch.zeros_like(param),
            )
        state["count"] += 1
        low, high = group["betas"]
        state["mean"].lerp_(param.grad, 1 - low)
        state["square"].lerp_(param.grad.square(), 1 - high)
        size = (state["square"] / (1 - high ** state["count"])).sqrt_().add_(1e-8)
        param.addcdiv_(state["mean"], size, value=-group["lr"] / (1 - low ** state["count"]))


def split(model: nn.Module, lr: float, *, outer: tuple[str, ...]) -> list[dict]:
    """Parameter groups of a denoiser: inner matrices for Muon; vectors and the layers named in `outer` for
    AdamW.
    """
    inner, plain = [], []
    for name, param in model.named_parameters():
        (plain if param.ndim < 2 or name.startswith(outer) else inner).append(param)
    return [
        {"params": inner, "lr": lr, "plain": False},
        {"params": plain, "lr": lr, "plain": True, "weight_decay": 0.0},
    ]
