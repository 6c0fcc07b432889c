"""Which stored objects are needed and which may go: the part of the store that :mod:`jobs.files.retention` works with.

Names are those of the object store; one that ends in ``/`` stands for everything below it.
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

    def hold_input(self, sha256: str, ending: str) -> str:
        """The object for an input image that is about to be stored: the present one of this content, or a new one.

        From here on it stays for ``UNUSED_FILES_GRACE_S``; a job that is submitted within this time keeps it.
        """
        return str(self.script("hold", sha256, secrets.token_hex(4), ending))

    def take_due(self, limit: int, again_after_s: float) -> list[str]:
        """Names to be removed now, and then to be given to :meth:`forget_file`; else they are taken again."""
        return list(self.script("due", limit, int(again_after_s * 1000)))

    def forget_file(self, name: str) -> None:
        """It was removed."""
        self.call(lambda client: client.zrem(keys.DUE, name))

    def adopt(self, names: Sequence[str]) -> list[str]:
        """Of objects that were found: what is removed now because nothing needs it."""
        return list(self.script("adopt", *names)) if names else []

    def lock_files(self, owner: str, lasts_s: float) -> bool:
        """Whether this process may look after the files now."""
        return bool(self.call(lambda c: c.set(keys.FILES_LOCK, owner, nx=True, px=max(1, int(lasts_s * 1000)))))

    def files_began_s(self) -> float:
        """Since when this Redis knows of all files, in seconds since 1970: another one may have known older ones."""
        self.call(lambda client: client.set(keys.FILES_BEGAN, f"{time.time():.3f}", nx=True))
        return float(self.call(lambda client: client.get(keys.FILES_BEGAN)) or time.time())

    def orphan_cursor(self) -> str:
        """The last object that the search for orphans has seen; '' at its beginning."""
        return str(self.call(lambda client: client.get(keys.ORPHAN_CURSOR)) or "")

    def set_orphan_cursor(self, name: str) -> None:
        self.call(lambda client: client.set(keys.ORPHAN_CURSOR, name))
