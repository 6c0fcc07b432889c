"""The parent's side of an ``io`` worker: announces that this host delivers, and runs its threads."""

from __future__ import annotations

import contextlib

from celery.worker.state import maybe_shutdown

from jobs.errors import Unavailable
from jobs.files import spool
from jobs.files.disks import DiskWatch
from tasks.runtime import settings, store
from workers.parent.janitor import Janitor
from workers.parent.webhook_sender import WebhookSender

#: Longest pause between two attempts to announce this host, seconds.
ANNOUNCE_PAUSE_S = 1.0


class DeliveryWorker:
    """Serves the delivery queue of this host from :meth:`start` to :meth:`stop`."""

    def __init__(self) -> None:
        self._janitor = Janitor()
        self._sender = WebhookSender()
        self._disks = DiskWatch(settings())

    def start(self) -> None:
        """Announce this host, and start the threads. Raises: WorkerShutdown: it was told to exit meanwhile."""
        spool.offer_memory(settings())
        store().until_written(store().announce_node, longest_pause_s=ANNOUNCE_PAUSE_S, check=maybe_shutdown)
        self._janitor.start()
        self._sender.start()

    def beat(self) -> None:
        """Renew the announcements, and look at the disks. Raises: Unavailable."""
        spool.offer_memory(settings())
        self._disks.check()
        store().announce_node()

    def stop(self) -> None:
        self._janitor.stop()
        self._sender.stop()
        spool.withdraw_memory(settings())
        with contextlib.suppress(Unavailable):
            store().withdraw_node()
