"""Remove files that are no longer needed: a thread in the parent process of an ``io`` worker.

It is separate from the heartbeat thread, because an object store that hangs must not delay the renewal of leases.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from jobs.errors import FramemillError
from jobs.files import checkpoints, retention, spool
from jobs.objects.base import ObjectStore
from jobs.store.measuring.objects import open_measured
from tasks.runtime import settings, store

logger = logging.getLogger(__name__)

#: How often the spool and the checkpoints of this host are tidied, seconds.
TIDY_EVERY_S = 60.0
#: The walk through the stored files goes on for a moment each minute, seconds.
WALK_S, WALK_EVERY_S = 1.0, 60.0


class Janitor:
    """Works from :meth:`start` to :meth:`stop`. Of all janitors of a service one removes files at a time."""

    def __init__(self) -> None:
        self._owner = f"janitor:{settings().node}:{os.getpid()}"
        self._stopping = threading.Event()
        self._objects: ObjectStore | None = None
        self._next_spool_at = self._next_walk_at = 0.0

    def start(self) -> None:
        threading.Thread(target=self._run, name="janitor", daemon=True).start()

    def stop(self) -> None:
        """Begin nothing more. Another janitor repeats what was not finished."""
        self._stopping.set()

    def _run(self) -> None:
        away = False
        while not self._stopping.wait(settings().leases.heartbeat_s):
            try:
                self._tidy_spool()
                if store().lock_files(self._owner, settings().leases.heartbeat_s):
                    self._remove_files()
                away = False
            except FramemillError as exc:  # Redis or the object store is away
                if not away:
                    logger.warning("files are not removed: %s", exc.message)
                away = True
            except Exception:
                logger.exception("the janitor goes on after an error")

    def _tidy_spool(self) -> None:
        """Tidy the spool of this host."""
        if time.monotonic() >= self._next_spool_at:
            for name in spool.tidy(settings(), store()):
                logger.info("spool tidied", extra={"folder": name})
            for job_id in checkpoints.tidy(settings(), store()):
                logger.info("checkpoints removed", extra={"job_id": job_id})
            self._next_spool_at = time.monotonic() + TIDY_EVERY_S

    def _remove_files(self) -> None:
        """Remove files of the whole service."""
        self._objects = self._objects or open_measured(settings(), store().measures)
        for name in retention.remove_due(store(), self._objects):
            logger.info("files removed", extra={"files": name})
        if time.monotonic() >= self._next_walk_at:
            self._walk(self._objects)
            self._next_walk_at = time.monotonic() + WALK_EVERY_S

    def _walk(self, objects: ObjectStore) -> None:
        """Count stored files and find orphans, for a moment or to the end of the walk."""
        until = time.monotonic() + WALK_S
        while not self._stopping.is_set():
            for name in retention.walk(store(), objects, orphan_age_s=settings().retention.orphan_age_s):
                logger.warning("orphaned files found", extra={"files": name})
            if time.monotonic() > until or not store().file_walk().cursor:
                return
