"""Files of checkpoints on this host: ``<spool disk>/checkpoints/<job id>/<attempt>.<step>.<ending>``."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from jobs.process.folders import make_folder
from jobs.settings import Settings

_NAME = re.compile(r"(\d+)\.(\d+)\.(\w+)")


def folder_of(settings: Settings, job_id: str) -> Path:
    """Return the folder of a job's checkpoints. It may not exist."""
    return settings.spool_disk / "checkpoints" / job_id


def found(settings: Settings, job_id: str) -> list[Path]:
    """Return the complete checkpoints of a job on this host, newest first."""
    folder = folder_of(settings, job_id)
    names = [match for name in os.listdir(folder) if (match := _NAME.fullmatch(name))] if folder.is_dir() else []
    names.sort(key=lambda match: (int(match[1]), int(match[2])), reverse=True)
    return [folder / match[0] for match in names]


def write(settings: Settings, job_id: str, attempt: int, step: int, write_to: Callable[[Path], None]) -> Path:
    """Store a checkpoint, and remove the job's older ones. ``write_to`` writes the file. Raises: OSError."""
    folder = folder_of(settings, job_id)
    make_folder(folder)
    path, part = folder / f"{attempt}.{step}.checkpoint", folder / f"{attempt}.{step}.part"
    try:
        write_to(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    for old in found(settings, job_id)[1:]:
        old.unlink(missing_ok=True)
    return path


def remove(settings: Settings, job_id: str) -> None:
    """Remove the checkpoints of a job."""
    shutil.rmtree(folder_of(settings, job_id), ignore_errors=True)
