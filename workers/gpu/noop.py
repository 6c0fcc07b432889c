"""The executor ``noop``: counts the steps of a request and has no output. For measuring the server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from jobs.requests.generation import GenerationRequest
from workers.reporting.reporter import Reporter

#: Name of the environment variable with the duration of a step, milliseconds; default 0.
STEP_MS_VARIABLE = "NOOP_STEP_MS"


def count_steps(
    request: GenerationRequest, reporter: Reporter, after_step: Callable[[int], None] | None = None
) -> None:
    """Report each step of the request.

    Args:
        request: the request.
        reporter: of the attempt.
        after_step: called with the number of finished steps after each one.

    Raises:
        RunCancelled: stopped, within one step.
    """
    step_s = float(os.environ.get(STEP_MS_VARIABLE, "0")) / 1000
    reporter.stage("denoising")
    for done in range(1, request.total_steps + 1):
        if step_s:
            time.sleep(step_s)
        reporter.step(done)
        if after_step:
            after_step(done)
