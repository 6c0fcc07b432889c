"""The GPU child process: prepared before its first job, without torch."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from types import FrameType

from jobs.slots.slot import is_gpu, visible_device
from tasks.celery_app import STOP_SIGNAL

#: Set when this process was told to look at its job's record (``STOP_SIGNAL``). The record says whether to stop.
stop_hint = threading.Event()

#: ``PR_SET_PDEATHSIG`` of Linux' prctl(2).
_PR_SET_PDEATHSIG = 1


def prepare(slot: str) -> None:
    """Pin the device, install the stop signal, and die with the parent.

    Called by Celery in a new child. ``CUDA_VISIBLE_DEVICES`` must be set before torch is imported.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = visible_device(slot) if is_gpu(slot) else ""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # so that CUDA's numbers are those of nvidia-smi
    signal.signal(STOP_SIGNAL, _on_stop_signal)
    # An orphan would go on computing on a GPU that the next worker uses.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _on_stop_signal(signum: int, frame: FrameType | None) -> None:
    stop_hint.set()
