"""Count the steps of all calls of a run as one sequence, for progress and previews."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.requests.generation import GenerationRequest
from workers.diffusion.preview import Previews
from workers.reporting.reporter import Reporter


@dataclass
class Share:
    """The part of one call in a run."""

    #: Number of steps. Some schedulers make more than requested, and ``strength`` leaves some out.
    steps: int
    #: Cost of one step relative to those of other calls (pixels).
    cost: float


class StepCounter:
    """Reports every step, and passes its latents to the previews.

    Args:
        reporter: reports progress and stops the run.
        previews: receives the latents.
        shares: the expected calls.
    """

    def __init__(self, reporter: Reporter, previews: Previews, shares: Sequence[Share]) -> None:
        self._reporter, self._previews, self._shares, self._at = reporter, previews, list(shares), -1
        self._expect()

    def next_call(self, pipeline: Any, request: GenerationRequest) -> None:
        """Begin the next call: of this pipeline, with pictures of this request's size."""
        self._at += 1
        self._previews.begin(pipeline, request, self._steps_before())

    def step(self, done: int, steps: int) -> None:
        """Report that ``done`` of ``steps`` of this call are over. Raises: RunCancelled, RunTimeout."""
        now = self._shares[self._at]
        if steps != now.steps:  # similar calls will have as many steps
            expected = (now.steps, now.cost)
            for share in self._shares[self._at :]:
                if (share.steps, share.cost) == expected:
                    share.steps = steps
            self._expect()
        spent = sum(share.steps * share.cost for share in self._shares[: self._at]) + done * now.cost
        total = sum(share.steps * share.cost for share in self._shares)
        self._reporter.step(self._steps_before() + done, spent / total)

    def callback(self) -> Callable[..., dict[str, Any]]:
        """Return the ``callback_on_step_end`` of a pipeline."""

        def on_step_end(pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            self.step(step + 1, getattr(pipeline, "num_timesteps", None) or len(pipeline.scheduler.timesteps))
            self._previews.step(step + 1, tensors.get("latents"))
            return tensors

        return on_step_end

    def _steps_before(self) -> int:
        """Return the number of steps of the calls before this one."""
        return sum(share.steps for share in self._shares[: self._at])

    def _expect(self) -> None:
        self._reporter.expect(sum(share.steps for share in self._shares))
