"""What a pipeline's run needs of a reporter: that of one attempt, or of several that share the run."""

from __future__ import annotations

from typing import Protocol

from workers.reporting.reporter import Draw


class RunReports(Protocol):
    """Reports of a run; see :class:`~workers.reporting.reporter.Reporter`."""

    def check(self) -> None:
        """Raise if the run has to stop."""

    def stage(self, name: str) -> None:
        """Enter a stage."""

    def expect(self, steps: int) -> None:
        """Set the actual number of steps."""

    def step(self, done: int, share: float | None = None) -> None:
        """Report that ``done`` steps are finished."""

    def resume(self, step: int, share: float | None = None) -> None:
        """Go on after ``step`` steps."""

    def show(self, step: int, draw: Draw) -> None:
        """Draw and publish a preview now."""
