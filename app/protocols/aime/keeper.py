"""Sweeping from the web process: where all workers come over HTTP, no other process looks for what died."""

from __future__ import annotations

import logging
import os
import threading
from functools import cache

from jobs.errors import Unavailable
from tasks import dispatch
from tasks.runtime import settings

logger = logging.getLogger(__name__)


def start() -> None:
    """Begin, in this process, unless it has begun."""
    _start_in(os.getpid())


@cache
def _start_in(pid: int) -> None:
    threading.Thread(target=_run, args=(f"web:{pid}",), name="aime-keeper", daemon=True).start()


def _run(owner: str) -> None:
    pause = threading.Event()
    while not pause.wait(settings().heartbeat_s):
        try:
            dispatch.sweep(owner)
        except Unavailable:
            continue
        except Exception:
            logger.exception("the keeper goes on after an error")
