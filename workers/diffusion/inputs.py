"""Reading a job's input files."""

from __future__ import annotations

import time

from jobs.errors import Unavailable
from jobs.objects.base import ObjectStore

#: Pauses between tries to read an input from the object store, seconds.
INPUT_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def read_input(objects: ObjectStore, key: str) -> bytes:
    """An input, with patience for an object store that is away for a moment."""
    for pause_s in INPUT_PAUSES_S:
        try:
            return b"".join(objects.read(key))
        except Unavailable:
            time.sleep(pause_s)
    return b"".join(objects.read(key))
