"""What a run and the storage of its checkpoints know of each other. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from jobs.errors import RunInterrupted as RunInterrupted


class CheckpointRefused(Exception):
    """A checkpoint cannot be made, or a run cannot go on from this file. The message says why."""


class Snapshot(Protocol):
    """The state of a run after a step. It does not change when the run goes on."""

    @property
    def step(self) -> int:
        """Finished steps of the whole run."""

    def write(self, path: Path) -> None:
        """Write a complete file. May be called in a thread. Raises: OSError."""


class Keeper(Protocol):
    """Where one attempt gets checkpoints from, and where it leaves them. A run without checkpoints has none."""

    @property
    def wants_draft(self) -> bool:
        """Whether a draft of the result is to be shown with the next checkpoint."""

    @property
    def max_bytes(self) -> int:
        """Largest size of the tensors of a checkpoint, bytes; 0: any."""

    def candidates(self) -> Iterator[Path]:
        """Yield the files to go on from, newest first."""

    def resumed(self, step: int) -> None:
        """The run goes on after this step of the whole run."""

    def refused(self, why: str) -> None:
        """A candidate does not fit."""

    def unable(self, why: str) -> None:
        """This run cannot make checkpoints."""

    def is_due(self, step: int) -> bool:
        """Return whether a checkpoint is wanted after this step. Called after every step; costs a flag and a clock."""

    def keep(self, snapshot: Snapshot) -> None:
        """Store a snapshot. Returns at once, except when the run is to be interrupted.

        Raises:
            RunInterrupted: the run is to end here, and the snapshot is stored.
        """
