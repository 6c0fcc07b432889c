"""Sweeping from the web process: if all workers pull over HTTP, no worker process sweeps for dead ones."""

from __future__ import annotations

import logging
import threading

from app import extensions
from app.extensions import Extensions
from jobs.errors import Unavailable

logger = logging.getLogger(__name__)

#: Name of the sweeper among the adapters of the app.
SWEEPER = "aime.sweeper"


class WebSweeper:
    """A thread that sweeps once per heartbeat; the first request of an HTTP worker or of its client starts it."""

    def __init__(self, app: Extensions) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._is_running = False

    def start(self) -> None:
        """Start the thread unless it is running."""
        with self._lock:
            if not self._is_running:
                threading.Thread(target=self._run, name="aime-sweeper", daemon=True).start()
                self._is_running = True

    def _run(self) -> None:
        pause, after_outage = threading.Event(), False
        while not pause.wait(self._app.settings.leases.heartbeat_s):
            try:
                self._app.dispatcher.sweep(after_outage=after_outage)
                after_outage = False
            except Unavailable:
                after_outage = True
            except Exception:
                logger.exception("the sweeper continues after an error")


def start() -> None:
    """Start the sweeper of the current app unless it is running."""
    sweeper: WebSweeper = extensions.current().adapters[SWEEPER]
    sweeper.start()
