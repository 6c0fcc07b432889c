"""The spool: folders of this host where computed outputs wait for delivery; how much they may hold, and their cleanup.

Frames go to shared memory while there is space, else to disk. Frames in shared memory survive every process, but not
the host: after a reboot they are computed again. ``SPOOL_DIR`` names one folder to use instead of both.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jobs.process.folders import make_folder
from jobs.settings import Settings
from jobs.slots.host import ram_bytes
from jobs.states import JobState
from jobs.store.jobs import JobStore
from jobs.store.queries import find

FRAMES = "frames.npy"
#: Younger folders are not removed, seconds: their record may not be written yet.
TIDY_AGE_S = 600.0
#: Marks a folder in shared memory that a delivery worker of this host reads from.
_OFFER = "delivered-from-here"


def offer_memory(settings: Settings) -> None:
    """Announce that deliveries on this host read from shared memory. The delivery worker calls this periodically.

    Without it a GPU worker uses no shared memory: in another container it may see a different one.
    """
    folder = settings.spool_memory
    if folder is not None:
        with suppress(OSError):  # there is no shared memory; the disk is used
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_ours(folder):
                (folder / _OFFER).touch()


def withdraw_memory(settings: Settings) -> None:
    """Withdraw the announcement when the delivery worker of this host stops. Waiting frames stay where they are."""
    folder = settings.spool_memory
    if folder is not None:
        with suppress(OSError):
            (folder / _OFFER).unlink(missing_ok=True)
            folder.rmdir()  # refused while it contains frames


def root_for(settings: Settings, size_bytes: int) -> Path:
    """Return the folder to write ``size_bytes`` of frames to."""
    memory = settings.spool_memory
    if memory is not None:
        with suppress(OSError):
            is_offered = time.time() - (memory / _OFFER).stat().st_mtime < settings.leases.slot_lease_s
            # At most half of the free memory is used: the machine needs memory for other things too.
            free_bytes = min(shutil.disk_usage(memory).free, ram_bytes()[1])
            is_within = used_bytes(memory) + size_bytes <= settings.spool.memory_bytes
            if is_offered and 2 * size_bytes < free_bytes and is_within and _is_ours(memory):
                return memory
    return settings.spool_disk


def full(settings: Settings) -> str:
    """Return why this host should get no new job, in words; '' while the spool has space."""
    used, most = sum(used_bytes(root) for root in _roots(settings)), settings.spool.max_bytes
    if most and used >= most:
        return f"delivery of computed frames: {size_text(used)} of {size_text(most)} wait in the spool"
    with suppress(OSError):  # an unusable folder fails the run, with its own message
        make_folder(settings.spool_disk)
        free, reserve = shutil.disk_usage(settings.spool_disk).free, settings.spool.reserve_bytes
        if free < reserve:
            return f"room on the disk of the spool: {size_text(free)} free, {size_text(reserve)} kept free"
    return ""


def used_bytes(root: Path) -> int:
    """Return the bytes of frames in one folder of the spool."""
    total = 0
    with suppress(FileNotFoundError), os.scandir(root) as folders:
        for folder in folders:
            with suppress(OSError):  # removed meanwhile, or not a folder
                total += os.stat(f"{folder.path}/{FRAMES}").st_size
    return total


def folders_of(settings: Settings, job_id: str, attempt: int) -> list[Path]:
    """Return the folders that may contain the outputs of an attempt."""
    return [root / f"{job_id}.{attempt}" for root in _roots(settings)]


def remove(settings: Settings, job_id: str, attempt: int) -> None:
    """Remove the outputs of an attempt, if there are any."""
    for folder in folders_of(settings, job_id, attempt):
        shutil.rmtree(folder, ignore_errors=True)


def tidy(settings: Settings, store: JobStore, *, age_s: float = TIDY_AGE_S) -> list[str]:
    """Remove folders that no delivery needs: of attempts that are over, and incomplete ones.

    Args:
        settings: which folders there are.
        store: the job store.
        age_s: younger folders are not removed, seconds.

    Returns:
        Names of the removed folders.

    Raises:
        Unavailable: Redis does not answer.
    """
    removed = []
    for folder in _folders(settings):
        job_id, _, attempt = folder.name.partition(".")
        try:
            is_old = folder.stat().st_mtime < time.time() - age_s
        except FileNotFoundError:
            continue
        job = find(store, job_id) if is_old else None
        is_needed = job is not None and job.state is JobState.DELIVERING and attempt == str(job.attempt)
        if is_old and not is_needed:
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder.name)
    return removed


def _roots(settings: Settings) -> list[Path]:
    memory = settings.spool_memory
    return [settings.spool_disk] if memory is None else [memory, settings.spool_disk]


def _folders(settings: Settings) -> Iterator[Path]:
    for root in _roots(settings):
        yield from root.glob("*.*")


def _is_ours(folder: Path) -> bool:
    """Return whether this user made the folder. Shared memory is open to all users; others' folders are not used."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()


def size_text(count: float) -> str:
    """Return a number of bytes for people, such as ``1.2 GiB``."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
