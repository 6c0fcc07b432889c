"""Record one call of a pipeline, or replay it up to a step without computing.

All steps of all schedulers of the call, and of the copies that the pipeline makes of them, count as one sequence. A
*loop* is what one scheduler steps through after one ``set_timesteps``. For each loop its last step is kept: what it
returned, the scheduler's attributes and the states of the generators. A pipeline that is called again repeats what
it does outside of the steps; inside of them, its modules are skipped, and a step answers what is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from workers.checkpoints import generators as generator_states
from workers.checkpoints.contract import CheckpointRefused
from workers.checkpoints.draft import estimated
from workers.checkpoints.loops import Loop, attributes_of, count_step, filled, is_before, parameters_of
from workers.checkpoints.modules import StepModules
from workers.checkpoints.packing import mapped
from workers.pipelines.schedulers import intercept

logger = logging.getLogger(__name__)


class RecordedCall:
    """One call of a pipeline.

    Args:
        pipeline: the pipeline.
        generators: those that the call is given.
        state: of the checkpoint to replay (:meth:`state`); None: compute everything.
        has_callback: whether the pipeline says when it has made all steps of one timestep.
    """

    def __init__(
        self, pipeline: Any, generators: Sequence[torch.Generator], state: Any = None, *, has_callback: bool = True
    ) -> None:  # fmt: skip
        self._generators, self._has_callback = generators, has_callback
        self._landmarks = state["loops"] if state else []
        self._replayed = state["count"] if state else 0
        self._modules = StepModules(pipeline, state["modules"] if state else {})
        #: Number of steps of all schedulers so far.
        self._count = 0
        self._loops: list[Loop] = []
        #: The present loop of each scheduler, by its id; the loops hold the schedulers.
        self._loop_of: dict[int, Loop] = {}
        self._is_drafting = self._is_stopped = False
        #: Whether its state is known to be storable.
        self.is_checked = False

    @property
    def is_silent(self) -> bool:
        """Whether the present step is not one of this attempt: replayed, or of a draft."""
        return self._is_drafting or 0 < self._replayed >= self._count

    @property
    def has_replayed(self) -> bool:
        """Whether everything that follows is computed."""
        return self._count >= self._replayed

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Record the call inside the block. Raises: CheckpointRefused: it differs from the one to replay."""
        try:
            with self._modules.observed():
                if self._replayed:
                    self._modules.skip()
                yield
            if self._count < self._replayed:
                raise CheckpointRefused(f"the run has {self._count} steps, fewer than the {self._replayed} of the file")
        finally:
            self._forget()

    def watch(self, scheduler: Any) -> None:
        """Record the steps of a scheduler of the pipeline."""
        intercept(scheduler, "set_timesteps", self._set_timesteps)
        intercept(scheduler, "step", self._step)

    def draft(self) -> None:
        """Skip the rest of the call: the steps that follow answer an estimate of the result."""
        self._is_drafting = True
        self._modules.skip()

    def stop(self) -> None:
        """Record no more."""
        self._is_stopped = True
        self._forget()

    def state(self) -> dict[str, Any]:
        """Return the state after the present step: tensors of the run, to be copied before it goes on.

        Raises:
            CheckpointRefused: this call cannot be replayed.
        """
        if self._modules.obstacle:
            raise CheckpointRefused(self._modules.obstacle)
        if not self._count:
            raise CheckpointRefused("the pipeline makes no steps with its scheduler")
        if not self._has_callback and len({id(loop.scheduler) for loop in self._loops}) > 1:
            raise CheckpointRefused("several schedulers take turns, and the pipeline does not say when all made a step")
        loops = [loop.state() for loop in self._loops]
        return {"count": self._count, "loops": loops, "modules": self._modules.described}

    def _forget(self) -> None:
        """Release the tensors: classes of schedulers refer to this object."""
        self._loops.clear()
        self._loop_of.clear()
        self._landmarks = []

    # ---- schedulers

    def _set_timesteps(self, scheduler: Any, set_timesteps: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._end_loop(scheduler)
        return set_timesteps(*args, **kwargs)

    def _step(self, scheduler: Any, step: partial[Any], *args: Any, **kwargs: Any) -> Any:
        if self._is_stopped:
            return step(*args, **kwargs)
        arguments = {**dict(zip(parameters_of(step.func), args, strict=False)), **kwargs}
        if not isinstance(arguments.get("sample"), torch.Tensor):
            self._modules.obstacle = f"the step of {type(scheduler).__name__} is given no sample"
            return step(*args, **kwargs)
        loop = self._loop(scheduler, arguments.get("timestep"))
        self._modules.step_ended(is_first=not loop.count)
        generators = [*self._generators, *generator_states.others(arguments.values(), self._generators)]
        self._count += 1
        if self._is_drafting:
            return self._drafted(loop, arguments["sample"])
        if self._count <= self._replayed:
            answer = self._replay(loop, arguments["sample"], generators)
        else:
            answer = step(*args, **kwargs)
            # Pipelines may change in place what a step returned.
            self._note(loop, mapped(answer, torch.Tensor.clone), generators)
        loop.timestep = arguments.get("timestep")
        loop.model_output, loop.sample = arguments.get("model_output"), arguments["sample"]
        return answer

    def _loop(self, scheduler: Any, timestep: Any) -> Loop:
        loop = self._loop_of.get(id(scheduler))
        if loop is not None and is_before(timestep, loop.timestep):
            self._end_loop(scheduler)
            loop = None
        if loop is None:
            loop = self._loop_of[id(scheduler)] = Loop(scheduler)
            self._loops.append(loop)
        return loop

    def _end_loop(self, scheduler: Any) -> None:
        if (loop := self._loop_of.pop(id(scheduler), None)) is not None:
            loop.attributes = attributes_of(scheduler)
            loop.model_output = loop.sample = None

    def _note(self, loop: Loop, answer: Any, generators: Sequence[torch.Generator]) -> None:
        loop.count, loop.answer = self._count, answer
        loop.generators = [generator_states.state_of(generator) for generator in generators]

    # ---- replay and draft

    def _replay(self, loop: Loop, sample: torch.Tensor, generators: Sequence[torch.Generator]) -> Any:
        number = self._loops.index(loop)
        landmark = self._landmarks[number] if number < len(self._landmarks) else None
        if landmark is None or self._count > landmark["count"]:
            raise CheckpointRefused(f"step {self._count} of the run is another one than in the file")
        loop.count = self._count
        if self._count == landmark["count"]:
            loop.scheduler.__dict__.update(landmark["scheduler"])
            generator_states.restore(generators, landmark["generators"])
            self._note(loop, landmark["answer"], generators)
            if self._count == self._replayed:
                self._modules.stop_skipping()
            return mapped(loop.answer, torch.Tensor.clone)
        count_step(loop.scheduler)
        return filled(landmark["answer"], sample)

    def _drafted(self, loop: Loop, sample: torch.Tensor) -> Any:
        answer = loop.answer if loop.count else self._loops[0].answer
        final = None
        if loop.model_output is not None:
            try:
                final = estimated(loop.scheduler, loop.model_output, loop.timestep, loop.sample, loop.answer)
            except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
                logger.info("a draft is not estimated", exc_info=True)
        if final is None:
            final = sample
        return filled(answer, final, always=True)
