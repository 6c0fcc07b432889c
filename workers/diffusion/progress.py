"""Count the steps of all calls of a run as one sequence, for progress and previews."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from PIL import Image

from jobs.requests.generation import GenerationRequest
from workers.checkpoints.recorder import RunRecorder
from workers.reporting import preview_file
from workers.reporting.contract import RunReports


class StepPreviews(Protocol):
    """Where the latents of steps go; see :class:`~workers.diffusion.preview.Previews`."""

    @property
    def fitting(self) -> bool:
        """Whether the decoder runs for a fit now, not for the result."""

    def begin(self, pipeline: Any, request: GenerationRequest, steps_before: int) -> None:
        """Begin a call."""

    def step(self, done: int, latents: Any) -> None:
        """Receive the latents of a step of this call."""


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
        recorder: takes checkpoints after steps, and knows which steps are not of this attempt.
        shares: the expected calls.
    """

    def __init__(
        self, reporter: RunReports, previews: StepPreviews, recorder: RunRecorder, shares: Sequence[Share]
    ) -> None:  # fmt: skip
        self._reporter, self._previews, self._recorder = reporter, previews, recorder
        self._shares, self._at = list(shares), -1
        for share, steps in zip(self._shares, recorder.plan, strict=False):
            share.steps = steps
        self._expect()

    def next_call(self, pipeline: Any, request: GenerationRequest) -> None:
        """Begin the next call: of this pipeline, with pictures of this request's size."""
        self._at += 1
        self._previews.begin(pipeline, request, self._steps_before())

    def step(self, done: int, steps: int, latents: Any = None) -> None:
        """Report that ``done`` of ``steps`` of this call are over.

        Raises:
            RunCancelled, RunTimeout: the run has to stop.
            RunInterrupted: the run is to go on later.
        """
        now = self._shares[self._at]
        if steps != now.steps:  # similar calls will have as many steps
            expected = (now.steps, now.cost)
            for share in self._shares[self._at :]:
                if (share.steps, share.cost) == expected:
                    share.steps = steps
            self._expect()
        spent = sum(share.steps * share.cost for share in self._shares[: self._at]) + done * now.cost
        total = sum(share.steps * share.cost for share in self._shares)
        done_of_run = self._steps_before() + done
        if self._recorder.is_silent:
            if self._recorder.has_replayed:
                self._reporter.resume(done_of_run, spent / total)
            return
        self._reporter.step(done_of_run, spent / total)
        self._previews.step(done, latents)
        self._recorder.after_step(done_of_run, [share.steps for share in self._shares])

    def callback(self) -> Callable[..., dict[str, Any]]:
        """Return the ``callback_on_step_end`` of a pipeline."""

        def on_step_end(pipeline: Any, step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            steps = getattr(pipeline, "num_timesteps", None) or len(pipeline.scheduler.timesteps)
            self.step(step + 1, steps, tensors.get("latents"))
            return tensors

        return on_step_end

    def show_draft(self, frames: np.ndarray, request: GenerationRequest) -> None:
        """Show a draft of this call as a preview: (frames, height, width, 3) uint8 RGB."""
        picture = Image.fromarray(frames[len(frames) // 2])
        draw = partial(preview_file.encode, picture, request.width, request.height)
        self._reporter.show(self._recorder.drafted_step, draw)

    def _steps_before(self) -> int:
        """Return the number of steps of the calls before this one."""
        return sum(share.steps for share in self._shares[: self._at])

    def _expect(self) -> None:
        self._reporter.expect(sum(share.steps for share in self._shares))
