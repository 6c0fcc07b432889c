"""Raw frames in the spool.

``<spool>/<job_id>.<attempt>/frames.npy``: (images, frames, height, width, 3) uint8 RGB, and the sound beside them if
there is any. The folder is written under another name and renamed, so it is complete or absent.
:mod:`jobs.files.spool` chooses the folder.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jobs.errors import ObjectNotFound
from jobs.files import spool
from jobs.process.folders import create_file, make_folder
from jobs.settings import Settings
from workers.spool.sound import SOUND, Sound

logger = logging.getLogger(__name__)

#: Pause before the next attempt to write to a full disk, seconds.
FULL_PAUSE_S = 1.0


def write(
    settings: Settings, job_id: str, attempt: int, frames: np.ndarray, waiting: Callable[[], None],
    sound: Sound | None = None,
) -> None:  # fmt: skip
    """Write the frames of one attempt; while the disk is full, keep them in memory and try again.

    Args:
        settings: which folders there are.
        job_id: the job.
        attempt: its attempt number.
        frames: (images, frames, height, width, 3) uint8 RGB.
        waiting: called between two attempts to write; may raise to give up.
        sound: the sound of the one video; None: it has none.
    """
    name = f"{job_id}.{attempt}"
    while True:
        root = spool.root_for(settings, frames.nbytes + (sound.samples.nbytes if sound else 0))
        try:
            return _save(root / name, frames, sound)
        except OSError as exc:
            if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            logger.warning("the spool is full, waiting for space", extra={"job_id": job_id, "folder": str(root)})
        waiting()
        time.sleep(FULL_PAUSE_S)


def _save(folder: Path, frames: np.ndarray, sound: Sound | None) -> None:
    partial = folder.with_name(folder.name + f".part{os.getpid()}")
    make_folder(partial)
    try:
        with create_file(partial / spool.FRAMES) as file:
            np.save(file, frames, allow_pickle=False)
        if sound is not None:
            sound.write(partial / SOUND)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def load(settings: Settings, job_id: str, attempt: int) -> np.ndarray:
    """Return the frames of an attempt, memory-mapped.

    Raises:
        ObjectNotFound: they are missing, or were damaged by a crash of the host.
        OSError: they cannot be read now, for example because too many files are open.
    """
    for folder in spool.folders_of(settings, job_id, attempt):
        try:
            return np.load(folder / spool.FRAMES, mmap_mode="r", allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            continue
    raise ObjectNotFound("the computed frames are gone")
