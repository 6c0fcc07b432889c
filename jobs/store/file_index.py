"""Which stored objects are needed, and which may be removed: the data of :mod:`jobs.files.retention`.

Names are those of the object store; one that ends in ``/`` stands for all objects below it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from jobs.store import keys
from jobs.store.scripts import Scripts

#: Prefixes of the names of all stored objects.
OBJECT_PREFIXES = (keys.INPUT_OBJECTS, keys.OUTPUT_OBJECTS)


class FileIndex(Scripts):
    """What Redis knows about stored objects; part of :class:`jobs.store.jobs.JobStore`."""

    def reserve_input(self, sha256: str, ending: str) -> str:
        """The object for an input image that is about to be stored: the present one of this content, or a new one.

        It is kept for ``UNUSED_FILES_GRACE_S`` from now on; a job that is submitted within this time keeps it longer.
        """
        return str(self.script("reserve_input", sha256=sha256, token=secrets.token_hex(4), ending=ending))

    def take_due_files(self, limit: int, again_after_s: float) -> list[str]:
        """Names of objects to remove now. Each is taken again after ``again_after_s`` unless it is forgotten."""
        return list(self.script("take_due_files", limit=limit, retry_ms=int(again_after_s * 1000)))

    def forget_file(self, name: str) -> None:
        """The object was removed."""
        self.call(lambda client: client.zrem(keys.DUE, name))

    def mark_orphans(self, names: Sequence[str]) -> list[str]:
        """Let those of these stored objects be removed that no job needs. Returns their names."""
        return list(self.script("mark_orphans", names=names)) if names else []

    def lock_files(self, owner: str, lasts_s: float) -> bool:
        """Try to become the one process that removes files for ``lasts_s``."""
        return bool(self.call(lambda c: c.set(keys.FILES_LOCK, owner, nx=True, px=max(1, int(lasts_s * 1000)))))

    def files_began_s(self) -> float:
        """The time since which this Redis has indexed files, seconds since 1970. It may not know older files."""
        self.call(lambda client: client.set(keys.FILES_BEGAN, f"{time.time():.3f}", nx=True))
        return float(self.call(lambda client: client.get(keys.FILES_BEGAN)) or time.time())

    def orphan_cursor(self) -> str:
        """The last object that the search for orphans has seen; '' at its beginning."""
        return str(self.call(lambda client: client.get(keys.ORPHAN_CURSOR)) or "")

    def set_orphan_cursor(self, name: str) -> None:
        """Move the search for orphans on."""
        self.call(lambda client: client.set(keys.ORPHAN_CURSOR, name))
