"""No computation: steps are counted and nothing comes out. It measures the server, and fills a fleet in tests."""

from __future__ import annotations

import os
import time

from jobs.requests.generation import GenerationRequest
from workers.gpu.report import Reporter

#: Length of a step, milliseconds; 0: none.
STEP_MS_VARIABLE = "NOOP_STEP_MS"


def run(request: GenerationRequest, reporter: Reporter) -> None:
    """Count the request's steps.

    Raises:
        JobCancelled: stopped, within one step.
    """
    step_s = float(os.environ.get(STEP_MS_VARIABLE, "0")) / 1000
    reporter.stage("denoising")
    for done in range(1, request.total_steps + 1):
        if step_s:
            time.sleep(step_s)
        reporter.step(done)
