"""A fresh scheduler for every job, made from the model's own: nothing of one job meets the next."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import diffusers
from diffusers import SchedulerMixin

from jobs.errors import ExecutionError
from jobs.models.schedulers import SAMPLERS, SCHEDULES, parse

_SIGMA_FLAGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


@contextmanager
def fresh(
    pipeline: Any, wanted: str | None = None, on_step: Callable[[int, int], None] | None = None
) -> Iterator[None]:
    """Put new schedulers into a pipeline, and its own back afterwards.

    Args:
        pipeline: the pipeline.
        wanted: name of the scheduler (``jobs.models.schedulers``); None: like the model's own.
        on_step: called after each step with the number of steps done and of all; for pipelines without a callback.

    Raises:
        ExecutionError: the model's family has no such scheduler.
    """
    own = {name: part for name, part in pipeline.components.items() if isinstance(part, SchedulerMixin)}
    for name, scheduler in own.items():
        new = make(scheduler, wanted) if wanted and name == "scheduler" else _copy(scheduler)
        if on_step and name == "scheduler":
            _count(new, on_step)
        setattr(pipeline, name, new)
    try:
        yield
    finally:
        for name, scheduler in own.items():
            setattr(pipeline, name, scheduler)


def make(own: Any, wanted: str) -> Any:
    """A scheduler of this name with the noise schedule that the model was trained with.

    Raises:
        ExecutionError: the model's family has no such scheduler.
    """
    choice, family = parse(wanted), family_of(own)
    class_name = SAMPLERS[choice.sampler].class_in(family) if choice else None
    if choice is None or class_name is None:
        raise ExecutionError(f"the model's own scheduler is {type(own).__name__}; {wanted} cannot take its place")
    wanted_class = getattr(diffusers, class_name)
    options: dict[str, Any] = dict.fromkeys(_SIGMA_FLAGS, False)
    options |= SAMPLERS[choice.sampler].options
    options |= SCHEDULES.get(choice.schedule, {})
    if family == "flow":
        shift = own.config.get("shift", own.config.get("flow_shift", 1.0))
        options |= {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "shift": shift, "flow_shift": shift}
    # What its file did not say is not the model's choice: there the new class's default holds.
    unsaid = own.config.get("_use_default_values", ())
    trained = {name: value for name, value in own.config.items() if name not in unsaid}
    return wanted_class(**_accepted(wanted_class, {**trained, **options}))


def family_of(scheduler: Any) -> str:
    """``flow`` or ``diffusion``, see ``jobs.models.schedulers``."""
    config = scheduler.config
    is_flow = (
        type(scheduler).__name__.startswith("Flow")
        or config.get("use_flow_sigmas")
        or config.get("prediction_type") == "flow_prediction"
    )
    return "flow" if is_flow else "diffusion"


def _copy(own: Any) -> Any:
    return type(own)(**_accepted(type(own), own.config))


def _accepted(scheduler_class: Any, options: Any) -> dict[str, Any]:
    names = inspect.signature(scheduler_class.__init__).parameters
    return {name: value for name, value in options.items() if name in names}


def _count(scheduler: Any, on_step: Callable[[int, int], None]) -> None:
    step, done = scheduler.step, 0

    @functools.wraps(step)  # pipelines look at its parameters
    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = step(*args, **kwargs)
        done += 1
        on_step(done, len(scheduler.timesteps))
        return result

    scheduler.step = counted
