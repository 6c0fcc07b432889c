"""The signal that makes a running attempt check its job's record."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from tasks.celery_app import STOP_SIGNAL

#: Set when the signal arrived. It is only a hint: the record says whether the attempt has to stop.
stop_hint = threading.Event()


def install_handler() -> None:
    """Set :data:`stop_hint` whenever this process receives ``STOP_SIGNAL``. Must be called in the main thread."""
    signal.signal(STOP_SIGNAL, _on_signal)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    stop_hint.set()
