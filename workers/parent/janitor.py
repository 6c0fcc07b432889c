"""The janitor: a thread in an ``io`` worker's parent process that removes files nobody needs any more.

Not part of the keeper's thread: an object store that hangs must not keep that one from renewing leases.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from jobs.errors import FramemillError
from jobs.files import retention, spool
from jobs.objects.base import ObjectStore
from jobs.objects.factory import open_store
from tasks.runtime import settings, store

logger = logging.getLogger(__name__)

#: From one look for orphans to the next, seconds.
ORPHANS_EVERY_S = 60.0


class Janitor:
    """Works from :meth:`start` to :meth:`stop`; of several in a service one works at a time."""

    def __init__(self) -> None:
        self._owner = f"janitor:{settings().node}:{os.getpid()}"
        self._stopping = threading.Event()
        self._objects: ObjectStore | None = None
        self._spool_at = self._orphans_at = 0.0

    def start(self) -> None:
        threading.Thread(target=self._run, name="janitor", daemon=True).start()

    def stop(self) -> None:
        """Begin nothing more; what is under way is taken up again by another one."""
        self._stopping.set()

    def _run(self) -> None:
        away = False
        while not self._stopping.wait(settings().heartbeat_s):
            try:
                self._tidy_spool()
                if store().lock_files(self._owner, settings().heartbeat_s):
                    self._remove()
                away = False
            except FramemillError as exc:  # Redis or the object store is away
                if not away:
                    logger.warning("files are not looked after: %s", exc.message)
                away = True
            except Exception:
                logger.exception("the janitor goes on after an error")

    def _tidy_spool(self) -> None:
        """Of this host."""
        if time.monotonic() >= self._spool_at:
            for name in spool.tidy(settings(), store()):
                logger.info("spool tidied", extra={"folder": name})
            self._spool_at = time.monotonic() + spool.TIDY_AGE_S

    def _remove(self) -> None:
        """Of the whole service."""
        self._objects = self._objects or open_store(settings())
        for name in retention.remove_due(store(), self._objects):
            logger.info("files removed", extra={"files": name})
        if settings().orphan_age_s and time.monotonic() >= self._orphans_at:
            for name in retention.find_orphans(store(), self._objects, age_s=settings().orphan_age_s):
                logger.warning("files that nothing needs were found", extra={"files": name})
            self._orphans_at = time.monotonic() + ORPHANS_EVERY_S
