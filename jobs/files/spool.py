"""Where computed frames lie on a host until they are delivered, how much may, and what is tidied away there.

Shared memory while there is room, else the disk. Frames in shared memory outlive every process, but not the host:
those of a host that was started anew are computed again. ``SPOOL_DIR`` names one folder instead of both.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jobs.settings import Settings
from jobs.slots.host import ram_bytes
from jobs.states import JobState
from jobs.store.jobs import JobStore
from jobs.store.queries import find

FRAMES = "frames.npy"
#: Younger folders are left alone, seconds: they may be on their way into the record.
TIDY_AGE_S = 600.0


def offer_memory(settings: Settings) -> None:
    """Say that deliveries on this host read from shared memory. Called by its delivery worker, again and again.

    A GPU worker uses no shared memory without this: in another container it may have one of its own.
    """
    folder = settings.spool_memory
    if folder is not None:
        with suppress(OSError):  # there is no shared memory: the disk has to do
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_ours(folder):
                _offer(folder).touch()


def withdraw_memory(settings: Settings) -> None:
    """This host's delivery worker stops. Frames that wait stay where they are."""
    folder = settings.spool_memory
    if folder is not None:
        with suppress(OSError):
            _offer(folder).unlink(missing_ok=True)
            folder.rmdir()  # refused while frames are in it


def root_for(settings: Settings, size_bytes: int) -> Path:
    """The folder to write so many bytes of frames to."""
    memory = settings.spool_memory
    if memory is not None:
        with suppress(OSError):
            fresh = time.time() - _offer(memory).stat().st_mtime < settings.leases.slot_lease_s
            # Half of what is free stays so: the machine needs its memory for other things too.
            room = 2 * size_bytes < min(shutil.disk_usage(memory).free, ram_bytes()[1])
            within = used_bytes(memory) + size_bytes <= settings.spool.memory_bytes
            if fresh and room and within and _is_ours(memory):
                return memory
    return settings.spool_disk


def full(settings: Settings) -> str:
    """Why this host should get no new job, for people; '' while there is room."""
    used = sum(used_bytes(root) for root in _roots(settings))
    if settings.spool.max_bytes and used >= settings.spool.max_bytes:
        return f"delivery of computed frames: {_size(used)} of {_size(settings.spool.max_bytes)} wait in the spool"
    with suppress(OSError):  # a folder that cannot be used fails the run, with a message of its own
        settings.spool_disk.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(settings.spool_disk).free
        if free < settings.spool.reserve_bytes:
            return f"room on the disk of the spool: {_size(free)} free, {_size(settings.spool.reserve_bytes)} kept free"
    return ""


def used_bytes(root: Path) -> int:
    """Bytes of frames in one folder of the spool."""
    total = 0
    with suppress(FileNotFoundError), os.scandir(root) as folders:
        for folder in folders:
            with suppress(OSError):  # removed meanwhile, or no folder
                total += os.stat(f"{folder.path}/{FRAMES}").st_size
    return total


def folders_of(settings: Settings, job_id: str, attempt: int) -> list[Path]:
    """Where one attempt's frames may be."""
    return [root / f"{job_id}.{attempt}" for root in _roots(settings)]


def remove(settings: Settings, job_id: str, attempt: int) -> None:
    """Forget an attempt's frames; absent ones are fine."""
    for folder in folders_of(settings, job_id, attempt):
        shutil.rmtree(folder, ignore_errors=True)


def tidy(settings: Settings, store: JobStore, *, age_s: float = TIDY_AGE_S) -> list[str]:
    """Remove what no delivery waits for: frames of attempts that are over, and half-written ones.

    Returns:
        Names of the removed folders.

    Raises:
        Unavailable: Redis does not answer.
    """
    removed = []
    for folder in _folders(settings):
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


def _roots(settings: Settings) -> list[Path]:
    memory = settings.spool_memory
    return [settings.spool_disk] if memory is None else [memory, settings.spool_disk]


def _folders(settings: Settings) -> Iterator[Path]:
    for root in _roots(settings):
        yield from root.glob("*.*")


def _offer(memory: Path) -> Path:
    return memory / "delivered-from-here"


def _is_ours(folder: Path) -> bool:
    """Shared memory is open to every user: a folder that another one made is not used."""
    found = folder.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
