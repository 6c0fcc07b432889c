"""Removes stored files that nothing needs any more. What may go, and when, the scripts decide
(``jobs/store/lua/include/files.lua``).

An object is taken in Redis first, then removed, then forgotten: a process that dies on the way, or an object store that
is away, only delays it. Files that Redis does not know are found by a slow walk through the object store.
"""

from __future__ import annotations

import time
from contextlib import suppress
from itertools import chain, islice

from jobs.errors import ObjectNotFound
from jobs.objects.base import ObjectStore
from jobs.store.file_index import OBJECT_PREFIXES
from jobs.store.jobs import JobStore

#: Names removed in one round, and objects looked at in one round of the search.
BATCH, PAGE = 100, 1000
#: What was taken and not removed is taken again after this, seconds.
AGAIN_AFTER_S = 60.0


def remove_due(store: JobStore, objects: ObjectStore, *, again_after_s: float = AGAIN_AFTER_S) -> list[str]:
    """Remove what is due, ``BATCH`` names at most.

    Returns:
        What was removed; as long as ``BATCH`` there may be more.

    Raises:
        Unavailable: Redis or the object store does not answer; the rest is tried again later.
    """
    names = store.take_due_files(BATCH, again_after_s)
    for name in names:
        with suppress(ObjectNotFound):  # no name of an object
            for key in [found.key for found in objects.list(name)] if name.endswith("/") else [name]:
                objects.delete(key)
        store.forget_file(name)
    return names


def find_orphans(store: JobStore, objects: ObjectStore, *, age_s: float) -> list[str]:
    """Look at the next ``PAGE`` stored objects, and let those go that nothing knows.

    Left behind by processes that were killed, and by a Redis that lost its last moments. Files older than the data in
    Redis stay: they may be known elsewhere, and an empty Redis must not empty a bucket.

    Args:
        store: the store.
        objects: the object store.
        age_s: younger files are left alone, seconds: they may be on their way into a record.

    Returns:
        What the next round of :func:`remove_due` removes.

    Raises:
        Unavailable: Redis or the object store does not answer.
    """
    began_s, cursor = store.files_began_s(), store.orphan_cursor()
    found = chain.from_iterable(objects.list(prefix, cursor) for prefix in OBJECT_PREFIXES)
    page = list(islice(found, PAGE))
    old_s = time.time() - age_s
    adopted = store.mark_orphans([one.key for one in page if began_s < one.modified_s < old_s])
    if len(page) < PAGE:
        objects.tidy(age_s)
    store.set_orphan_cursor(page[-1].key if len(page) == PAGE else "")
    return adopted
