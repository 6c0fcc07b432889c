"""How a wait for one job goes on: what to ask next, when, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

from framemill.errors import ApiError, JobCancelled, JobFailed, ServerUnavailable, WaitTimeout
from framemill.records import Status

#: Shortest and longest time between two questions that are answered at once, seconds.
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.1, 1.0
#: The server holds a question back until the state changes, so long at most, seconds. Shorter than the patience
#: of usual proxies.
LONG_POLL_S = 25.0
#: The same for a job in the queue that somebody watches: its place changes meanwhile.
PLACE_POLL_S = 1.0
#: A server that does not answer for this long ends the wait, seconds. Long enough for a restart.
MAX_SILENCE_S = 30.0
#: Streams that end without bringing news before they are given up: a proxy holds them back.
MAX_EMPTY_STREAMS = 3


class Poll:
    """One wait for one job. Feed it every answer; it says how long to sleep before the next question.

    Nobody watches: the server is asked to answer when the state changes. Somebody does: places in the queue are
    asked for once a second, steps come as a stream of events (with a time limit, which a silent stream would
    miss, or where there are no streams: by asking often while the job moves and seldom while nothing changes).

    Args:
        task_id: the job.
        timeout_s: give up after this many seconds; None: never.
        watched: whether steps and places are of interest, or just the end.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        task_id: str,
        timeout_s: float | None,
        watched: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._task_id = task_id
        self._timeout_s = timeout_s
        self._watched = watched
        self._clock = clock
        self._interval_s = MIN_INTERVAL_S
        self._started = self._asked = clock()
        self._refused_since: float | None = None
        self._last: Status | None = None
        self._may_stream = watched and timeout_s is None
        self._empty_streams = 0

    def ask(self) -> float:
        """Seconds the server may hold the next question back; call it right before asking."""
        self._asked = self._clock()
        if not self._watched:
            wait_s = LONG_POLL_S
        else:
            wait_s = PLACE_POLL_S if self._last is not None and self._last.state == "queued" else 0.0
        return wait_s if self._timeout_s is None else max(0.0, min(wait_s, self._left_s(self._timeout_s)))

    def answered(self, status: Status) -> float:
        """Seconds to sleep after ``status``; 0 when the job has succeeded.

        Raises:
            JobFailed: it failed or expired.
            JobCancelled: it was cancelled.
            WaitTimeout: the time is up.
        """
        last, self._last, self._refused_since = self._last, status, None
        if status.state == "succeeded":
            return 0.0
        if status.state == "cancelled":
            raise JobCancelled(status)
        if status.ended:
            raise JobFailed(status)
        moved = last is None or (last.state, last.step, last.stage) != (status.state, status.step, status.stage)
        factor = 0.5 if moved else 1.5
        self._interval_s = min(max(self._interval_s * factor, MIN_INTERVAL_S), MAX_INTERVAL_S)
        # A question that was held back took its time already; a server that cannot do so must not be flooded.
        return self._limited(max(0.0, self._interval_s - (self._clock() - self._asked)))

    def refused(self, error: ApiError) -> float:
        """Seconds to sleep after an error; a server that restarts or is busy does not end the wait.

        Raises:
            ApiError: ``error`` itself, when it will not pass.
            WaitTimeout: the time is up.
        """
        now = self._clock()
        self._refused_since = now if self._refused_since is None else self._refused_since
        passing = isinstance(error, ServerUnavailable) or error.status == 429
        if not passing or now - self._refused_since > MAX_SILENCE_S:
            raise error
        return self._limited(min(error.retry_after_s or MAX_INTERVAL_S, MAX_SILENCE_S))

    @property
    def streams(self) -> bool:
        """Whether a stream of events is better than the next question: the job moves and somebody watches."""
        return self._may_stream and self._last is not None and self._last.state in ("running", "delivering")

    def stream_ended(self, heard: int, error: ApiError | None = None) -> float:
        """A stream is over after so many events; the next question tells what became of the job.

        Returns:
            Seconds to sleep before.
        """
        # The first event is the present state, which the question before has told already.
        self._empty_streams = 0 if heard > 1 else self._empty_streams + 1
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
            raise WaitTimeout(self._task_id, self._timeout_s, self._last)
        return min(sleep_s, left_s)
