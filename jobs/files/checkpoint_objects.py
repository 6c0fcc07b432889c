"""Checkpoints in the object store: ``checkpoints/<job id>/<attempt>.<step>.checkpoint``."""

from __future__ import annotations

from pathlib import Path

from jobs.files import checkpoints
from jobs.files.checkpoints import CheckpointFile
from jobs.objects.base import ObjectStore
from jobs.settings import Settings

MEDIA_TYPE = "application/octet-stream"


def listed(objects: ObjectStore, job_id: str) -> list[CheckpointFile]:
    """Return the checkpoints of a job that are stored there. Raises: Unavailable."""
    prefix = checkpoints.prefix_of(job_id)
    names = [entry.key.removeprefix(prefix) for entry in objects.list(prefix)]
    return [file for name in names if (file := CheckpointFile.from_name(job_id, name))]


def fetch(settings: Settings, objects: ObjectStore, file: CheckpointFile) -> None:
    """Copy a checkpoint to this host. Raises: ObjectNotFound, Unavailable, OSError."""

    def write_to(path: Path) -> None:
        with path.open("wb") as target:
            for chunk in objects.read(file.key):
                target.write(chunk)

    checkpoints.write(settings, file, write_to)


def remove_older(objects: ObjectStore, newest: CheckpointFile) -> None:
    """Remove the checkpoints of a job that this one makes needless. Raises: Unavailable."""
    for file in listed(objects, newest.job_id):
        if newest.makes_needless(file):
            objects.delete(file.key)
