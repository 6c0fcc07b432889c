"""Which stored objects are needed, and which may be removed: the data of :mod:`jobs.files.retention`.

Names are those of the object store; one that ends in ``/`` stands for all objects below it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from jobs.objects.base import ListedObject
from jobs.store import keys
from jobs.store.scripts import Scripts

#: Prefixes of the names of all stored objects, in their order.
OBJECT_PREFIXES = (keys.CHECKPOINT_OBJECTS, keys.INPUT_OBJECTS, keys.OUTPUT_OBJECTS)
#: What a walk counts → the prefix of such objects.
_COUNTED = {
    "inputs": keys.INPUT_OBJECTS, "outputs": keys.OUTPUT_OBJECTS, "checkpoints": keys.CHECKPOINT_OBJECTS,
}  # fmt: skip


@dataclass(frozen=True)
class Amount:
    """A number of files, and their size."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class FileWalk:
    """A walk through all stored objects, in the order of their names."""

    #: The last object that was seen; '' at the beginning.
    cursor: str = ""
    inputs: Amount = Amount()
    outputs: Amount = Amount()
    checkpoints: Amount = Amount()
    #: Milliseconds since 1970; None while it goes on.
    ended_at_ms: int | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FileWalk:
        amounts = {name: Amount(**values[name]) for name in _COUNTED if name in values}
        return cls(**{**values, **amounts})

    def seen(self, objects: Sequence[ListedObject]) -> FileWalk:
        """Return the walk after these objects."""
        if not objects:
            return self
        amounts: dict[str, Any] = {}
        for name, prefix in _COUNTED.items():
            sizes, before = [one.size_bytes for one in objects if one.key.startswith(prefix)], getattr(self, name)
            amounts[name] = Amount(before.files + len(sizes), before.bytes + sum(sizes))
        return replace(self, cursor=objects[-1].key, **amounts)


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

    def file_walk(self) -> FileWalk:
        """Return how far the walk through the stored objects is."""
        found = self.call(lambda client: client.get(keys.FILE_WALK))
        return FileWalk.from_dict(json.loads(found)) if found else FileWalk()

    def set_file_walk(self, walk: FileWalk) -> None:
        """Move the walk on."""
        self.call(lambda client: client.set(keys.FILE_WALK, json.dumps(asdict(walk))))

    def end_file_walk(self, walk: FileWalk) -> None:
        """The walk has seen all objects: keep its counts, and begin anew."""
        counts = json.dumps(asdict(walk) | {"cursor": "", "ended_at_ms": int(time.time() * 1000)})

        def write(client: Any) -> None:
            client.pipeline().set(keys.FILE_COUNTS, counts).delete(keys.FILE_WALK).execute()

        self.call(write)

    def file_counts(self) -> FileWalk | None:
        """Return the last complete walk; None before the first one has ended."""
        found = self.call(lambda client: client.get(keys.FILE_COUNTS))
        return FileWalk.from_dict(json.loads(found)) if found else None
