"""Read whole objects, waiting for an object store that does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, repeat
from typing import Protocol

from jobs.errors import ObjectNotFound, Unavailable

#: Pauses before the second and later attempts, seconds.
RETRY_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
#: Longest pause of a reader that waits without an end, seconds.
LONGEST_PAUSE_S = 5.0


class Readable(Protocol):
    """What objects are read from."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Return the content in chunks. Raises: ObjectNotFound, Unavailable."""


def read_all(objects: Readable, key: str, waiting: Callable[[], None] | None = None) -> bytes:
    """Return the content of an object.

    Args:
        objects: where it is stored.
        key: its key.
        waiting: called before each further attempt; may raise to give up. None: give up after half a minute.

    Raises:
        ObjectNotFound.
        Unavailable: the object store did not answer within about half a minute, and nobody waits for it.
    """
    pauses: Iterator[float] = iter(RETRY_PAUSES_S)
    if waiting:
        pauses = (min(pause_s, LONGEST_PAUSE_S) for pause_s in chain(RETRY_PAUSES_S, repeat(LONGEST_PAUSE_S)))
    for pause_s in pauses:
        try:
            return b"".join(objects.read(key))
        except Unavailable:
            if waiting:
                waiting()
            time.sleep(pause_s)
    return b"".join(objects.read(key))


class ReadObjects:
    """Objects whose content was read already."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents

    def read(self, key: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        if key not in self._contents:
            raise ObjectNotFound()
        yield self._contents[key][start : None if end is None else end + 1]
