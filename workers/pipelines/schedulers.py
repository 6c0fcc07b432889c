"""A new scheduler for every job, made from the model's: no state of one job reaches the next."""

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


#: Called with the number of steps done and in total, and the latents after the step.
OnStep = Callable[[int, int, Any], None]
#: Is called instead of a method, with the scheduler, the method, and the arguments.
Around = Callable[..., Any]


@contextmanager
def fresh(
    pipeline: Any, name: str | None = None, on_step: OnStep | None = None,
    watch: Callable[[Any], None] | None = None, generator: Any = None,
) -> Iterator[None]:  # fmt: skip
    """Replace the schedulers of a pipeline inside the block.

    Args:
        pipeline: the pipeline.
        name: name of the scheduler (``jobs.models.schedulers``); None: the same as the model's.
        on_step: called after each step; for pipelines without a callback.
        watch: called with each of the schedulers.
        generator: for steps that add noise and are given none: some pipelines forget it, and a seed would not repeat.

    Raises:
        ExecutionError: the model's family has no such scheduler.
    """
    originals = {slot: part for slot, part in pipeline.components.items() if isinstance(part, SchedulerMixin)}
    for slot, original in originals.items():
        scheduler = make(original, name) if name and slot == "scheduler" else _copy(original)
        if watch:
            watch(scheduler)
        if generator is not None and "generator" in inspect.signature(scheduler.step).parameters:
            _seed(scheduler, generator)
        if on_step and slot == "scheduler":
            _count(scheduler, on_step)
        setattr(pipeline, slot, scheduler)
    try:
        yield
    finally:
        for slot, original in originals.items():
            setattr(pipeline, slot, original)


def make(original: Any, name: str) -> Any:
    """Return a scheduler of this name, with the noise schedule that the model was trained with.

    Raises:
        ExecutionError: the model's family has no such scheduler.
    """
    choice, family = parse(name), family_of(original)
    class_name = SAMPLERS[choice.sampler].class_in(family) if choice else None
    if choice is None or class_name is None:
        raise ExecutionError(f"the model's own scheduler is {type(original).__name__}; {name} cannot take its place")
    scheduler_class = getattr(diffusers, class_name)
    options: dict[str, Any] = dict.fromkeys(_SIGMA_FLAGS, False)
    options |= SAMPLERS[choice.sampler].options
    options |= SCHEDULES.get(choice.schedule, {})
    if family == "flow":
        shift = original.config.get("shift", original.config.get("flow_shift", 1.0))
        options |= {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "shift": shift, "flow_shift": shift}
    # Values that the model's file does not set are not the model's choice: use the default of the new class.
    defaulted = original.config.get("_use_default_values", ())
    trained = {option: value for option, value in original.config.items() if option not in defaulted}
    return scheduler_class(**_accepted(scheduler_class, {**trained, **options}))


def family_of(scheduler: Any) -> str:
    """Return ``flow`` or ``diffusion``, see ``jobs.models.schedulers``."""
    config = scheduler.config
    is_flow = (
        type(scheduler).__name__.startswith("Flow")
        or config.get("use_flow_sigmas")
        or config.get("prediction_type") == "flow_prediction"
    )
    return "flow" if is_flow else "diffusion"


def _copy(original: Any) -> Any:
    return type(original)(**_accepted(type(original), original.config))


def _accepted(scheduler_class: Any, options: Any) -> dict[str, Any]:
    names = inspect.signature(scheduler_class.__init__).parameters
    return {name: value for name, value in options.items() if name in names}


def intercept(scheduler: Any, name: str, around: Around) -> None:
    """Have ``around(scheduler, method, *args, **kwargs)`` called instead of a method of a scheduler.

    The scheduler gets a class of its own. An attribute would be lost on the copies that pipelines make of a scheduler,
    or worse, would belong to the original.
    """
    original = type(scheduler)
    method = getattr(original, name)

    @functools.wraps(method)  # pipelines inspect its parameters
    def intercepted(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(self, functools.partial(method, self), *args, **kwargs)

    attributes = {name: intercepted, "__module__": original.__module__, "__qualname__": original.__qualname__}
    scheduler.__class__ = type(original.__name__, (original,), attributes)


def _seed(scheduler: Any, generator: Any) -> None:
    parameters = inspect.signature(scheduler.step)

    def seeded(_scheduler: Any, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if "generator" not in parameters.bind_partial(*args, **kwargs).arguments:
            kwargs["generator"] = generator
        return step(*args, **kwargs)

    intercept(scheduler, "step", seeded)


def _count(scheduler: Any, on_step: OnStep) -> None:
    """Have the steps of a scheduler counted; those of copies that pipelines make, for sound, are not."""
    done = 0

    def counted(counting: Any, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        result = step(*args, **kwargs)
        if counting is scheduler:
            done += 1
            latents = result[0] if isinstance(result, tuple) else getattr(result, "prev_sample", None)
            on_step(done, len(counting.timesteps), latents)
        return result

    intercept(scheduler, "step", counted)
