"""The spool: raw frames between the GPU and the encoder, on this host's disk.

``<spool>/<job_id>.<attempt>/frames.npy``: (images, frames, height, width, 3) uint8 RGB. The folder is written under
another name and renamed, so it is complete or absent.
"""

from __future__ import annotations

import os
import shutil

import numpy as np

from jobs.errors import ObjectNotFound
from jobs.settings import Settings
from jobs.spool import folder_of


def write(settings: Settings, job_id: str, attempt: int, frames: np.ndarray) -> None:
    """Keep the frames of one attempt: (images, frames, height, width, 3) uint8 RGB."""
    folder = folder_of(settings, job_id, attempt)
    partial = folder.with_name(folder.name + f".part{os.getpid()}")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "frames.npy", frames, allow_pickle=False)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def read(settings: Settings, job_id: str, attempt: int) -> np.ndarray:
    """The frames, memory-mapped. Raises: ObjectNotFound."""
    try:
        return np.load(folder_of(settings, job_id, attempt) / "frames.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise ObjectNotFound("the computed frames are gone") from exc
