"""When to ask for a job's status again, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from framemill.errors import ApiError, JobCancelled, JobFailed, ServerUnavailable, WaitTimeout
from framemill.records import Status

#: Shortest and longest time between two questions, seconds.
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 1.0
#: A server that does not answer for this long ends the wait, seconds. Long enough for a restart.
MAX_SILENCE_S = 30.0


class Poll:
    """One wait for one job. Feed it every answer; it says how long to sleep before the next question.

    It asks often while the job moves and seldom while nothing changes.

    Args:
        task_id: the job.
        timeout_s: give up after this many seconds; None: never.
        clock: seconds that only grow.
    """

    def __init__(self, task_id: str, timeout_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._task_id = task_id
        self._timeout_s = timeout_s
        self._clock = clock
        self._interval_s = MIN_INTERVAL_S
        self._started = self._heard = clock()
        self._last: Status | None = None

    def answered(self, status: Status) -> float:
        """Seconds to sleep after ``status``; 0 when the job has succeeded.

        Raises:
            JobFailed: it failed or expired.
            JobCancelled: it was cancelled.
            WaitTimeout: the time is up.
        """
        last, self._last, self._heard = self._last, status, self._clock()
        if status.state == "succeeded":
            return 0.0
        if status.state == "cancelled":
            raise JobCancelled(status)
        if status.ended:
            raise JobFailed(status)
        moved = last is None or (last.state, last.step, last.stage) != (status.state, status.step, status.stage)
        factor = 0.5 if moved else 1.5
        self._interval_s = min(max(self._interval_s * factor, MIN_INTERVAL_S), MAX_INTERVAL_S)
        return self._limited(self._interval_s)

    def refused(self, error: ApiError) -> float:
        """Seconds to sleep after an error; a server that restarts or is busy does not end the wait.

        Raises:
            ApiError: ``error`` itself, when it will not pass.
            WaitTimeout: the time is up.
        """
        passing = isinstance(error, ServerUnavailable) or error.status == 429
        if not passing or self._clock() - self._heard > MAX_SILENCE_S:
            raise error
        return self._limited(min(error.retry_after_s or MAX_INTERVAL_S, MAX_SILENCE_S))

    def _limited(self, sleep_s: float) -> float:
        if self._timeout_s is None:
            return sleep_s
        left_s = self._started + self._timeout_s - self._clock()
        if left_s <= 0:
            raise WaitTimeout(self._task_id, self._timeout_s, self._last)
        return min(sleep_s, left_s)
