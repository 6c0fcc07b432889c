"""Where computed frames lie on a host until they are delivered, and what is tidied away there."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from jobs.queries import find
from jobs.settings import Settings
from jobs.states import JobState
from jobs.store import JobStore

#: Younger folders are left alone, seconds: they may be on their way into the record.
TIDY_AGE_S = 600.0


def folder_of(settings: Settings, job_id: str, attempt: int) -> Path:
    """The folder of one attempt's frames."""
    return settings.spool_dir / f"{job_id}.{attempt}"


def remove(settings: Settings, job_id: str, attempt: int) -> None:
    """Forget an attempt's frames; absent ones are fine."""
    shutil.rmtree(folder_of(settings, job_id, attempt), ignore_errors=True)


def tidy(settings: Settings, store: JobStore, *, age_s: float = TIDY_AGE_S) -> list[str]:
    """Remove what no delivery waits for: frames of attempts that are over, and half-written ones.

    Returns:
        Names of the removed folders.

    Raises:
        Unavailable: Redis does not answer.
    """
    removed = []
    for folder in settings.spool_dir.glob("*.*"):
        job_id, _, attempt = folder.name.partition(".")
        try:
            old = folder.stat().st_mtime < time.time() - age_s
        except FileNotFoundError:
            continue
        job = find(store, job_id) if old else None
        wanted = job is not None and job.state is JobState.DELIVERING and attempt == str(job.attempt)
        if old and not wanted:
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder.name)
    return removed
