"""Remove stored files that are no longer needed. The Lua scripts decide which files may go, and when
(``jobs/store/lua/include/files.lua``).

A file is claimed in Redis first, then removed from the object store, then forgotten in Redis: if the process dies in
between, or the object store is away, the removal is repeated later. Files that Redis does not know are found by a slow
walk through the object store.
"""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import chain, islice

from jobs.errors import ObjectNotFound
from jobs.objects.base import ObjectStore
from jobs.store.file_index import OBJECT_PREFIXES
from jobs.store.jobs import JobStore

#: Most names that are removed in one round, and most objects that are checked in one round of the search.
BATCH, PAGE = 100, 1000
#: A claimed file that was not removed may be claimed again after this, seconds.
AGAIN_AFTER_S = 60.0


def remove_due(store: JobStore, objects: ObjectStore, *, again_after_s: float = AGAIN_AFTER_S) -> list[str]:
    """Remove the files that are due, at most ``BATCH`` names.

    Args:
        store: the job store.
        objects: the object store.
        again_after_s: a file that is claimed but not removed may be claimed again after this, seconds.

    Returns:
        The removed names; if there are ``BATCH`` of them, more files may be due.

    Raises:
        Unavailable: Redis or the object store does not answer; the rest is removed later.
    """
    names = store.take_due_files(BATCH, again_after_s)
    for name in names:
        with suppress(ObjectNotFound):  # not a valid key
            for key in [entry.key for entry in objects.list(name)] if name.endswith("/") else [name]:
                objects.delete(key)
        store.forget_file(name)
    return names


def walk(store: JobStore, objects: ObjectStore, *, orphan_age_s: float) -> list[str]:
    """Go on with the walk through the stored objects: count the next ``PAGE`` of them, and find orphans.

    Those that Redis does not know are marked for removal. They are left behind by processes that were killed, and by a
    Redis that lost its last moments. Files older than the data in Redis stay: they may belong to another Redis, and an
    empty Redis must not empty a bucket.

    Args:
        store: the job store.
        objects: the object store.
        orphan_age_s: younger files are no orphans, because their record may not be written yet; seconds. 0: none is.

    Returns:
        The names that the next call of :func:`remove_due` removes.

    Raises:
        Unavailable: Redis or the object store does not answer.
    """
    present = store.file_walk()
    entries = chain.from_iterable(objects.list(prefix, present.cursor) for prefix in OBJECT_PREFIXES)
    page = list(islice(entries, PAGE))
    orphans: list[str] = []
    if orphan_age_s:
        began_s, latest_s = store.files_began_s(), time.time() - orphan_age_s
        orphans = store.mark_orphans([entry.key for entry in page if began_s < entry.modified_s < latest_s])
        if len(page) < PAGE:
            objects.tidy(orphan_age_s)
    if len(page) < PAGE:
        store.end_file_walk(present.seen(page))
    else:
        store.set_file_walk(present.seen(page))
    return orphans
