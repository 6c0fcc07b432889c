"""A keeper whose checkpoints are files of one folder: taken at chosen steps, and read at the start."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from workers.checkpoints.contract import RunInterrupted, Snapshot


class FolderKeeper:
    """Keeps the checkpoints of one run.

    Args:
        folder: the folder.
        steps: the steps after which a checkpoint is due.
        stop_at: the step after which the run is interrupted; 0: never.
        draft_at: the step at which a draft is wanted; 0: never.
        max_bytes: largest size of a checkpoint.
    """

    def __init__(
        self, folder: Path, steps: Collection[int] = (), *, stop_at: int = 0, draft_at: int = 0, max_bytes: int = 0
    ) -> None:
        self.folder, self.steps, self.stop_at, self.draft_at = folder, steps, stop_at, draft_at
        self.max_bytes, self._step = max_bytes, 0
        self.resumed_at: list[int] = []
        self.refusals: list[str] = []
        self.obstacles: list[str] = []
        self.asked: list[int] = []
        folder.mkdir(exist_ok=True)

    @property
    def wants_draft(self) -> bool:
        return self._step == self.draft_at

    def path(self, step: int) -> Path:
        return self.folder / f"{step:04d}"

    def candidates(self) -> Iterator[Path]:
        yield from sorted(self.folder.iterdir(), reverse=True)

    def resumed(self, step: int) -> None:
        self.resumed_at.append(step)

    def refused(self, why: str) -> None:
        self.refusals.append(why)

    def unable(self, why: str) -> None:
        self.obstacles.append(why)

    def is_due(self, step: int) -> bool:
        self.asked.append(step)
        self._step = step
        return step in self.steps or step == self.stop_at

    def keep(self, snapshot: Snapshot) -> None:
        snapshot.write(self.path(snapshot.step))
        if snapshot.step == self.stop_at:
            raise RunInterrupted(snapshot.step)
