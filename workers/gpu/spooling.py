"""Put the outputs of an attempt into the spool of this host."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from jobs.record import Job
from tasks.runtime import settings
from workers.gpu.endings import Computed
from workers.reporting.reporter import Reporter

if TYPE_CHECKING:
    import numpy as np

    from workers.spool.sound import Sound

#: Stage of a run that cannot go on.
_SPOOL_FULL = "waiting for room in the spool"


def spooled(
    job: Job, attempt: int, frames: np.ndarray, run_s: float, reporter: Reporter, sound: Sound | None = None
) -> Computed:
    """Write (images, frames, height, width, 3) uint8 RGB and the sound; ``run_s``: how long they took.

    Raises:
        RunCancelled, RunTimeout: stopped.
    """
    from workers.spool import frames as spool

    begun = time.monotonic()
    reporter.check()
    spool.write(settings(), job.job_id, attempt, frames, partial(reporter.stage, _SPOOL_FULL), sound)
    return Computed(run_s + time.monotonic() - begun, settings().node)
