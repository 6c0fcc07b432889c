"""Decide how to wait for one job: what to request next, when, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from framemill.errors import ApiError, JobCancelled, JobFailed, ServerUnavailable, WaitTimeout
from framemill.records import Job

#: Minimum and maximum interval between two requests that are answered immediately, in seconds.
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 1.0
#: Maximum time for which the server may delay its response until the state changes, in seconds. Shorter than the
#: usual timeouts of proxies.
LONG_POLL_S = 25.0
#: The same for a watched job in the queue, whose position changes meanwhile.
PLACE_POLL_S = 1.0
#: The wait ends after the server has been unreachable for this long, in seconds. Long enough for a restart.
MAX_SILENCE_S = 30.0
#: Number of consecutive streams without new events after which streaming stops: a proxy buffers them.
MAX_EMPTY_STREAMS = 3


class Poll:
    """The strategy for one wait. It receives every response, and returns how long to sleep before the next request.

    An unwatched wait uses long polls, which the server answers when the state changes. A watched wait requests the
    position in the queue once per second, and receives steps as a stream of events. With a time limit, which a silent
    stream would exceed, or where streams do not work, it polls: often while the job progresses, less often while
    nothing changes.

    Args:
        job_id: the job.
        timeout_s: maximum wait in seconds; None: no limit.
        watched: True if the caller needs steps and positions, not only the end.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        job_id: str,
        timeout_s: float | None,
        watched: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job_id = job_id
        self._timeout_s = timeout_s
        self._watched = watched
        self._clock = clock
        self._interval_s = MIN_INTERVAL_S
        self._started = self._requested = clock()
        self._failing_since: float | None = None
        self._last: Job | None = None
        self._may_stream = watched and timeout_s is None
        self._empty_streams = 0

    def next_wait(self) -> float:
        """Return how long the server may delay the next response, in seconds. Call it right before the request."""
        self._requested = self._clock()
        if not self._watched:
            wait_s = LONG_POLL_S
        else:
            waits = self._last is not None and self._last.state in ("queued", "paused", "delivering")
            wait_s = PLACE_POLL_S if waits else 0.0
        return wait_s if self._timeout_s is None else max(0.0, min(wait_s, self._left_s(self._timeout_s)))

    def received(self, job: Job) -> float:
        """Return the seconds to sleep after ``job``; 0 if the job has succeeded.

        Raises:
            JobFailed: the job failed or expired.
            JobCancelled: the job was cancelled.
            WaitTimeout: the time limit has passed.
        """
        last, self._last, self._failing_since = self._last, job, None
        if job.state == "succeeded":
            return 0.0
        if job.state == "cancelled":
            raise JobCancelled(job)
        if job.finished:
            raise JobFailed(job)
        moved = last is None or (last.state, last.step, last.stage) != (job.state, job.step, job.stage)
        factor = 0.5 if moved else 1.5
        self._interval_s = min(max(self._interval_s * factor, MIN_INTERVAL_S), MAX_INTERVAL_S)
        # A long poll has already taken its time. A server without long polls must not be flooded with requests.
        return self._limited(max(0.0, self._interval_s - (self._clock() - self._requested)))

    def failed(self, error: ApiError) -> float:
        """Return the seconds to sleep after an error. A server that restarts or is busy does not end the wait.

        Raises:
            ApiError: ``error`` itself, if it is permanent or has lasted too long.
            WaitTimeout: the time limit has passed.
        """
        now = self._clock()
        self._failing_since = now if self._failing_since is None else self._failing_since
        temporary = isinstance(error, ServerUnavailable) or error.status == 429
        if not temporary or now - self._failing_since > MAX_SILENCE_S:
            raise error
        return self._limited(min(error.retry_after_s or MAX_INTERVAL_S, MAX_SILENCE_S))

    @property
    def streams(self) -> bool:
        """True if the next request should be a stream of events: the job is watched and runs.

        While it waits, for a worker or for its delivery, polls also show what it waits for.
        """
        return self._may_stream and self._last is not None and self._last.state == "running"

    def stream_ended(self, events: int, error: ApiError | None = None) -> float:
        """Return the seconds to sleep after a stream of ``events`` events has ended."""
        # The first event is the current state, which the request before it has already returned.
        self._empty_streams = 0 if events > 1 else self._empty_streams + 1
        if (error is not None and not isinstance(error, ServerUnavailable)) or self._empty_streams >= MAX_EMPTY_STREAMS:
            self._may_stream = False
        return MIN_INTERVAL_S if self.streams else 0.0

    def _left_s(self, timeout_s: float) -> float:
        return self._started + timeout_s - self._clock()

    def _limited(self, sleep_s: float) -> float:
        if self._timeout_s is None:
            return sleep_s
        left_s = self._left_s(self._timeout_s)
        if left_s <= 0:
            raise WaitTimeout(self._job_id, self._timeout_s, self._last)
        return min(sleep_s, left_s)
