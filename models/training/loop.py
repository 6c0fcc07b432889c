"""Shared by the training scripts: seeding, learning rate, averaged weights, progress lines, saving."""

from __future__ import annotations

import copy
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

Batch = TypeVar("Batch")


def start(seed: int) -> None:
    """Seeds torch and keeps it on one thread: results then do not depend on the machine's core count."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)


def prepared(make: Callable[[int], Batch], count: int, seed: int, processes: int = 2) -> list[Batch]:
    """Batches for many steps, made before training by several processes, each from a number of its own."""
    first = seed * 1_000_000
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.map(make, range(first, first + count), chunksize=8)


def learning_rate(step: int, steps: int, peak: float, warmup: int = 100, hold: float = 0.0) -> float:
    """Linear warm-up for at most a tenth of the steps, then the peak up to the part `hold` of the steps, then a
    cosine down to two hundredths of it.
    """
    warmup = min(warmup, max(1, steps // 10))
    if step < warmup:
        return peak * (step + 1) / warmup
    held = max(warmup, int(hold * steps))
    way = max(0, step - held) / max(1, steps - held)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * way)))


class Average:
    """An exponential moving average of a model's weights; the average is shipped, not the last
    step.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards the model."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        mine, theirs = self.model.state_dict(), model.state_dict()
        floats = [name for name in mine if mine[name].is_floating_point()]
        torch._foreach_lerp_([mine[n] for n in floats], [theirs[n] for n in floats], 1 - decay)


class Steps:
    """Counts training steps, sets the learning rates, and prints a line at intervals."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, steps: int, every: int = 100, begin: int = 0, hold: float = 0.0
    ) -> None:
        self.optimizer, self.steps, self.every, self.begin, self.hold = optimizer, steps, every, begin, hold
        self.peaks = [group["lr"] for group in optimizer.param_groups]
        self.losses: dict[str, float] = {}
        self.index = 0
        self.began = time.monotonic()

    def __iter__(self) -> Iterator[int]:
        for index in range(self.begin, self.steps):
            self.index = index
            for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = learning_rate(index, self.steps, peak, hold=self.hold)
            yield index

    def note(self, **losses: torch.Tensor) -> None:
        """Keeps a running mean of losses for the progress line."""
        for name, loss in losses.items():
            value = float(loss.detach())
            self.losses[name] = value if name not in self.losses else 0.98 * self.losses[name] + 0.02 * value
        if self.index % self.every == 0 or self.index + 1 == self.steps:
            seconds = time.monotonic() - self.began
            means = " ".join(f"{name} {value:.4f}" for name, value in self.losses.items())
            print(f"step {self.index} of {self.steps} after {seconds:.0f} s: {means}", flush=True)


def descend(loss: torch.Tensor, model: nn.Module, optimizer: torch.optim.Optimizer, limit: float = 1.0) -> None:
    """One optimiser step with clipped gradients."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), limit)
    optimizer.step()


def save(path: Path, step: int, **parts: Any) -> None:
    """Writes the states of models and optimisers after `step` steps, so that a reader never sees a partial file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"step": step, **states}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def restore(path: Path, **parts: Any) -> int:
    """Restores models and optimisers from a file of `save`, and returns the number of steps done."""
    states = torch.load(path)
    for name, part in parts.items():
        part.load_state_dict(states[name])
    return int(states["step"])
