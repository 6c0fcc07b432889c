"""Report a run that several attempts share: each reports to its own job and may be stopped without the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jobs.errors import RunCancelled, RunInterrupted, RunTimeout
from workers.reporting.reporter import Draw, Reporter
from workers.reporting.stop_signal import stop_hint


class SharedReporter:
    """The reporters of all attempts as one (:class:`~workers.reporting.contract.RunReports`).

    An attempt that is stopped is left out from then on. Every method raises ``RunCancelled`` when none is left.
    """

    def __init__(self, members: Sequence[Reporter]) -> None:
        self._members = members
        #: What stopped each attempt; None: it goes on.
        self.stopped: list[RunCancelled | RunInterrupted | RunTimeout | None] = [None] * len(members)

    def check(self) -> None:
        if stop_hint.is_set():  # the signal says that some job is to stop, not which one
            stop_hint.clear()
            self._each(Reporter.look)
        self._each(Reporter.check)

    def stage(self, name: str) -> None:
        self._each(lambda member: member.stage(name))

    def expect(self, steps: int) -> None:
        self._each(lambda member: member.expect(steps))

    def step(self, done: int, share: float | None = None) -> None:
        self._each(lambda member: member.step(done, share))

    def resume(self, step: int, share: float | None = None) -> None:
        raise NotImplementedError("a shared run does not go on from a checkpoint")

    def show(self, step: int, draw: Draw) -> None:
        raise NotImplementedError("a shared run has no drafts")

    def _each(self, act: Callable[[Reporter], None]) -> None:
        for number, member in enumerate(self._members):
            if self.stopped[number] is None:
                try:
                    act(member)
                except (RunCancelled, RunInterrupted, RunTimeout) as exc:
                    self.stopped[number] = exc
        if None not in self.stopped:
            raise RunCancelled()
