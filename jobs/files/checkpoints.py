"""Files of checkpoints on this host: ``<spool disk>/checkpoints/<job id>/<attempt>.<step>.checkpoint``.

They are not counted as frames that wait in the spool, and have a limit of their own (``CHECKPOINTS_MAX_BYTES``).
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.files.spool import size_text
from jobs.process.folders import make_folder
from jobs.settings import Settings
from jobs.store.jobs import JobStore
from jobs.store.queries import find

_NAME = re.compile(r"(\d+)\.(\d+)\.checkpoint")
#: Ending of a file that is being written.
_PART = ".part"
#: Files of jobs that Redis does not know, and incomplete files, are kept for this long, seconds.
UNKNOWN_AGE_S = 600.0


@dataclass(frozen=True)
class CheckpointFile:
    """A complete checkpoint. Of those of a job, the one of the latest step is best, whichever attempt made it."""

    job_id: str
    attempt: int
    step: int

    @property
    def name(self) -> str:
        return f"{self.attempt}.{self.step}.checkpoint"

    @property
    def key(self) -> str:
        """Its name in the object store."""
        return f"{prefix_of(self.job_id)}{self.name}"

    @classmethod
    def from_name(cls, job_id: str, name: str) -> CheckpointFile | None:
        """Return the checkpoint of this file name; None: it is the name of something else."""
        match = _NAME.fullmatch(name)
        return cls(job_id, int(match[1]), int(match[2])) if match else None

    def makes_needless(self, other: CheckpointFile) -> bool:
        """Return whether the other one may be removed when this one is stored: not if a later attempt made it."""
        return self != other and other.attempt <= self.attempt

    def path(self, settings: Settings) -> Path:
        """Return its path on this host."""
        return folder_of(settings, self.job_id) / self.name


def prefix_of(job_id: str) -> str:
    """Return the beginning of the names of a job's checkpoints in the object store."""
    return f"checkpoints/{job_id}/"


def folder_of(settings: Settings, job_id: str) -> Path:
    """Return the folder of a job's checkpoints. It may not exist."""
    return _root(settings) / job_id


def found(settings: Settings, job_id: str) -> list[CheckpointFile]:
    """Return the complete checkpoints of a job on this host, latest step first."""
    folder = folder_of(settings, job_id)
    names = os.listdir(folder) if folder.is_dir() else []
    files = [file for name in names if (file := CheckpointFile.from_name(job_id, name))]
    return sorted(files, key=lambda file: (file.step, file.attempt), reverse=True)


def write(settings: Settings, file: CheckpointFile, write_to: Callable[[Path], None]) -> None:
    """Store a checkpoint: it appears complete or not at all.

    Args:
        settings: which folder, and how much it may hold.
        file: the checkpoint.
        write_to: writes the file.

    Raises:
        OSError: it cannot be written, or there is no room for it.
    """
    folder = folder_of(settings, file.job_id)
    make_folder(folder)
    part = folder / f"{file.name}{_PART}"
    try:
        write_to(part)
        _check_room(settings, file.job_id)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.rename(folder / file.name)
    finally:
        part.unlink(missing_ok=True)


def remove_older(settings: Settings, newest: CheckpointFile) -> None:
    """Remove the checkpoints of a job that this one makes needless. Raises: OSError."""
    for file in found(settings, newest.job_id):
        if newest.makes_needless(file):
            file.path(settings).unlink(missing_ok=True)


def remove_file(settings: Settings, file: CheckpointFile) -> None:
    """Remove one checkpoint. Raises: OSError."""
    file.path(settings).unlink(missing_ok=True)
    with suppress(OSError):  # there are others of the job
        folder_of(settings, file.job_id).rmdir()


def remove(settings: Settings, job_id: str) -> None:
    """Remove all checkpoints of a job."""
    shutil.rmtree(folder_of(settings, job_id), ignore_errors=True)


def remove_if_over(settings: Settings, store: JobStore, job_id: str) -> bool:
    """Remove the checkpoints of a job that needs them no more. Returns whether it did. Raises: Unavailable."""
    folder = folder_of(settings, job_id)
    if not folder.is_dir():
        return False
    job = find(store, job_id)
    if job is not None and not job.state.is_terminal:
        return False
    remove(settings, job_id)
    return True


def tidy(settings: Settings, store: JobStore, *, age_s: float = UNKNOWN_AGE_S) -> list[str]:
    """Remove the checkpoints of jobs that are over, and incomplete files.

    Args:
        settings: which folder.
        store: the job store.
        age_s: folders of jobs that Redis does not know, and incomplete files, are not removed while they are younger,
            seconds.

    Returns:
        The jobs whose checkpoints were removed.

    Raises:
        Unavailable: Redis does not answer.
    """
    removed, latest = [], time.time() - age_s
    for folder in list(_folders(settings)):
        with suppress(FileNotFoundError):
            for part in folder.glob(f"*{_PART}"):
                if part.stat().st_mtime < latest:
                    part.unlink(missing_ok=True)
            is_young = folder.stat().st_mtime >= latest
            if is_young and find(store, folder.name) is None:
                continue
            if remove_if_over(settings, store, folder.name):
                removed.append(folder.name)
    return removed


def used_bytes(settings: Settings, *, without: str = "") -> int:
    """Return the bytes of all checkpoints on this host, except those of one job."""
    total = 0
    for folder in _folders(settings):
        if folder.name != without:
            with suppress(FileNotFoundError):  # removed meanwhile
                total += sum(file.stat().st_size for file in folder.iterdir())
    return total


def _check_room(settings: Settings, job_id: str) -> None:
    """Check that a file that was just written may stay. Raises: OSError."""
    folder, most = folder_of(settings, job_id), settings.checkpoints.host_max_bytes
    if most:
        own = max((file.stat().st_size for file in folder.glob(f"*{_PART}")), default=0)
        if used_bytes(settings, without=job_id) + own > most:
            raise OSError(errno.EDQUOT, f"the checkpoints of this host would take more than {size_text(most)}")
    free, reserve = shutil.disk_usage(folder).free, settings.spool.reserve_bytes
    if free < reserve:
        why = f"{size_text(free)} are free on the disk of the spool, {size_text(reserve)} are kept free"
        raise OSError(errno.ENOSPC, why)


def _root(settings: Settings) -> Path:
    return settings.spool_disk / "checkpoints"


def _folders(settings: Settings) -> Iterator[Path]:
    with suppress(FileNotFoundError), os.scandir(_root(settings)) as entries:
        yield from (Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
