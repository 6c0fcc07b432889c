"""Read a whole object, waiting for an object store that does not answer for a moment."""

from __future__ import annotations

import time

from jobs.errors import Unavailable
from jobs.objects.base import ObjectStore

#: Pauses before the second and later attempts, seconds.
RETRY_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def read_all(objects: ObjectStore, key: str) -> bytes:
    """Return the content of an object.

    Raises:
        ObjectNotFound.
        Unavailable: the object store did not answer within about half a minute.
    """
    for pause_s in RETRY_PAUSES_S:
        try:
            return b"".join(objects.read(key))
        except Unavailable:
            time.sleep(pause_s)
    return b"".join(objects.read(key))
