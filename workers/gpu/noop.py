"""The executor ``noop``: counts the steps of a request and has no output. For measuring the server."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from jobs.requests.generation import GenerationRequest
from workers.checkpoints.contract import CheckpointRefused, Keeper
from workers.reporting.reporter import Reporter

#: Name of the environment variable with the duration of a step, milliseconds; default 0.
STEP_MS_VARIABLE = "NOOP_STEP_MS"


@dataclass(frozen=True)
class CountedSteps:
    """The checkpoint of a run that counts: how far it is."""

    step: int
    #: Digest of the request.
    request: str

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path, request: str) -> CountedSteps:
        """Return the checkpoint in a file. Raises: CheckpointRefused: it is damaged, or of another request."""
        try:
            found = cls(**json.loads(path.read_text()))
        except (ValueError, TypeError) as exc:
            raise CheckpointRefused("the file is damaged") from exc
        if found.request != request:
            raise CheckpointRefused("it is of another request")
        return found


def count_steps(
    request: GenerationRequest, reporter: Reporter, after_step: Callable[[int], None] | None = None,
    keeper: Keeper | None = None, show_draft: Callable[[int], None] | None = None,
) -> None:  # fmt: skip
    """Report each step of the request.

    Args:
        request: the request.
        reporter: of the attempt.
        after_step: called with the number of finished steps after each one.
        keeper: has the checkpoint to go on from, and takes those of this run; None: there are none.
        show_draft: called with the number of finished steps before the job is paused there.

    Raises:
        RunCancelled: stopped, within one step.
        RunInterrupted: stopped, within one step, with a checkpoint.
    """
    step_s = float(os.environ.get(STEP_MS_VARIABLE, "0")) / 1000
    first = _resumed(keeper, request) if keeper else 0
    reporter.stage("denoising")
    for done in range(first + 1, request.total_steps + 1):
        if step_s:
            time.sleep(step_s)
        reporter.step(done)
        if after_step:
            after_step(done)
        if keeper and done < request.total_steps and keeper.is_due(done):
            if show_draft and keeper.wants_draft:
                show_draft(done)
            keeper.keep(CountedSteps(done, _digest(request)))


def _digest(request: GenerationRequest) -> str:
    return hashlib.sha256(json.dumps(request.to_dict(), sort_keys=True).encode()).hexdigest()


def _resumed(keeper: Keeper, request: GenerationRequest) -> int:
    """Return the step to go on after; 0 to begin."""
    for path in keeper.candidates():
        try:
            step = CountedSteps.read(path, _digest(request)).step
        except CheckpointRefused as exc:
            keeper.refused(str(exc))
        else:
            keeper.resumed(step)
            return step
    return 0
