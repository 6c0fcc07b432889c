"""Loops: the steps of one scheduler, and the state after the last of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from workers.checkpoints.packing import mapped

#: Attributes of a scheduler that never change.
_CONSTANT = frozenset({"_internal_dict"})


@dataclass(eq=False)
class Loop:
    """What one scheduler steps through after one ``set_timesteps``, and its last step."""

    scheduler: Any
    #: Number of the last step in the sequence of the call; 0: none yet.
    count: int = 0
    #: What the last step returned.
    answer: Any = None
    #: States of the generators after it.
    generators: Any = None
    #: Attributes of the scheduler after it; None: it still has them.
    attributes: dict[str, Any] | None = None
    #: The timestep of the last step, and what else a draft is estimated from.
    timestep: Any = None
    model_output: Any = None
    sample: Any = None

    def state(self) -> dict[str, Any]:
        attributes = attributes_of(self.scheduler) if self.attributes is None else self.attributes
        return {
            "count": self.count, "answer": self.answer, "generators": self.generators, "scheduler": attributes
        }  # fmt: skip


def attributes_of(scheduler: Any) -> dict[str, Any]:
    """Return the state of a scheduler. Lists are copied; tensors are not, because schedulers replace them."""
    return {
        name: mapped(value, lambda tensor: tensor)
        for name, value in scheduler.__dict__.items()
        if name not in _CONSTANT
    }


@cache
def parameters_of(step: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the parameters of a step, without ``self``."""
    return tuple(inspect.signature(step).parameters)[1:]


def is_before(timestep: Any, last: Any) -> bool:
    """Return whether a loop begins again: a timestep lies before the last one. Never waits for the device."""
    if isinstance(timestep, torch.Tensor) and isinstance(last, torch.Tensor):
        of_one_schedule = timestep.untyped_storage().data_ptr() == last.untyped_storage().data_ptr()
        return of_one_schedule and timestep.storage_offset() < last.storage_offset()
    if isinstance(timestep, int | float) and isinstance(last, int | float):
        return timestep > last
    return False


def count_step(scheduler: Any) -> None:
    """Count a step that is not computed, for pipelines that read the index."""
    if hasattr(scheduler, "_step_index"):
        index = scheduler._step_index
        scheduler._step_index = (index or getattr(scheduler, "begin_index", None) or 0) + 1


def filled(answer: Any, sample: torch.Tensor, *, always: bool = False) -> Any:
    """Return an answer like this one; with the sample for a tensor of another shape, or for all of its shape."""

    def fill(tensor: torch.Tensor) -> torch.Tensor:
        return sample.to(tensor.dtype, copy=True) if (tensor.shape == sample.shape) == always else tensor.clone()

    return mapped(answer, fill)
