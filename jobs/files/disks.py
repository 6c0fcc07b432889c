"""Free space of the disks that this host writes to, and a warning before it runs out."""

from __future__ import annotations

import logging
import os
import shutil
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from jobs.files.spool import size_text
from jobs.settings import Settings

logger = logging.getLogger(__name__)


def free_bytes(settings: Settings) -> dict[str, int]:
    """Return the free bytes of the disk of each folder: ``outputs``, ``spool`` and ``redis``, if this host has it."""
    return {name: shutil.disk_usage(folder).free for name, folder in _folders(settings).items()}


def total_bytes(settings: Settings) -> dict[str, int]:
    """Return the size of these disks, bytes."""
    return {name: shutil.disk_usage(folder).total for name, folder in _folders(settings).items()}


def warnings(settings: Settings) -> list[str]:
    """Return a sentence for each disk with less than ``MIN_FREE_DISK_BYTES``; empty if there are none."""
    least = settings.paths.min_free_disk_bytes
    names: dict[int, list[str]] = defaultdict(list)
    free: dict[int, int] = {}
    for name, folder in _folders(settings).items():
        device = os.stat(folder).st_dev
        names[device].append(name)
        free[device] = shutil.disk_usage(folder).free
    return [
        f"the disk of {', '.join(names[device])} has {size_text(bytes)} free; MIN_FREE_DISK_BYTES is {size_text(least)}"
        for device, bytes in free.items()
        if bytes < least
    ]


class DiskWatch:
    """Logs when a disk begins to be short of space, and when it has space again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_low = False

    def check(self) -> None:
        """Call periodically."""
        low = warnings(self._settings)
        if low and not self._is_low:
            logger.warning("little space is left: %s", "; ".join(low))
        elif self._is_low and not low:
            logger.warning("the disks have enough space again")
        self._is_low = bool(low)


def _folders(settings: Settings) -> dict[str, Path]:
    """Return the folders on local disks, or their nearest parents that exist."""
    wanted = {"spool": settings.spool_disk}
    if not settings.s3.bucket:
        wanted["outputs"] = settings.paths.objects_dir
    if settings.embedded_redis:
        wanted["redis"] = settings.redis_socket.parent
    folders = {}
    for name, folder in sorted(wanted.items()):
        with suppress(OSError):  # a disk that was removed is found by the check of outputs
            folders[name] = next(path for path in (folder, *folder.parents) if path.exists())
    return folders
