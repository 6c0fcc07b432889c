"""When to ask a back end for a task again.

The longer a task takes, the rarer it is asked for, so that its end is noticed after a small share of its time.
"""

from __future__ import annotations

import time

#: Pause between two polls: a share of the time since the job was submitted, within these limits, seconds.
POLL_SHARE, SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.02, 0.4


class Pace:
    """The pauses between the polls of one task, which begins now."""

    def __init__(self) -> None:
        self._began_at = time.monotonic()
        self.plan()

    def plan(self) -> None:
        """Plan the next poll, after one."""
        now = time.monotonic()
        pause_s = POLL_SHARE * (now - self._began_at)
        self._next_at = now + min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, pause_s))

    def wait(self, seconds: float) -> bool:
        """Wait for the time of the next poll, at most ``seconds``; return whether it has come."""
        time.sleep(max(0.0, min(seconds, self._next_at - time.monotonic())))
        return time.monotonic() >= self._next_at
