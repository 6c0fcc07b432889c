"""The steps of a run's calls, one after the other, as one count: for its progress and for its previews."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.requests.generation import GenerationRequest
from workers.diffusion.preview import Previews
from workers.reporting.reporter import Reporter


@dataclass
class Share:
    """One call's part of a run."""

    #: How many steps it has. Some schedulers make more of them than were asked for, and strength leaves some out.
    steps: int
    #: What one of them costs, relative to the others' (pixels).
    cost: float


class Progress:
    """Tells the reporter of every step, and shows its latents to the previews.

    Args:
        reporter: counts, and knows when to stop.
        previews: draws.
        shares: the calls that there will be.
    """

    def __init__(self, reporter: Reporter, previews: Previews, shares: Sequence[Share]) -> None:
        self._reporter, self._previews, self._shares, self._at = reporter, previews, list(shares), -1
        self._expect()

    def next_call(self, pipeline: Any, request: GenerationRequest) -> None:
        """A call begins, of this pipeline and with pictures of this request's size."""
        self._at += 1
        self._previews.begin(pipeline, request, self._before())

    def step(self, done: int, steps: int) -> None:
        """``done`` of ``steps`` of this call are over. Raises: JobCancelled, RunTimeout."""
        now = self._shares[self._at]
        if steps != now.steps:  # the calls that are like it will have as many
            like = [share for share in self._shares[self._at :] if (share.steps, share.cost) == (now.steps, now.cost)]
            for share in like:
                share.steps = steps
            self._expect()
        spent = sum(share.steps * share.cost for share in self._shares[: self._at]) + done * now.cost
        self._reporter.step(self._before() + done, spent / sum(share.steps * share.cost for share in self._shares))

    def callback(self) -> Callable[..., dict[str, Any]]:
        """A pipeline's ``callback_on_step_end``."""

        def on_step_end(pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            self.step(step + 1, getattr(pipeline, "num_timesteps", None) or len(pipeline.scheduler.timesteps))
            self._previews.step(step + 1, tensors.get("latents"))
            return tensors

        return on_step_end

    def _before(self) -> int:
        """Steps of the calls before this one."""
        return sum(share.steps for share in self._shares[: self._at])

    def _expect(self) -> None:
        self._reporter.expect(sum(share.steps for share in self._shares))
