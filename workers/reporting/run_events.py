"""What a run did and when, as the events of its span in a trace."""

from __future__ import annotations

import time

from jobs.process.tracing import Event

#: Most steps of a run that are events; of more steps, every second or third or so is one.
MOST_STEPS = 64
#: Most events of a run in all.
MOST_EVENTS = 120


class RunEvents:
    """Collects the stages and steps of a run. ``steps``: expected number of steps."""

    def __init__(self, steps: int) -> None:
        self.list: list[Event] = []
        self._interval = -(-max(1, steps) // MOST_STEPS)

    def stage(self, name: str) -> None:
        """Note that a stage begins."""
        self._add(name, {})

    def step(self, done: int) -> None:
        """Note that a step is done."""
        if done % self._interval == 0:
            self._add("step", {"framemill.step": done})

    def _add(self, name: str, attributes: dict[str, int]) -> None:
        if len(self.list) < MOST_EVENTS:
            self.list.append((time.time_ns(), name, attributes))
