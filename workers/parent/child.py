"""Prepare a newly forked GPU child before its first job. Does not import torch."""

from __future__ import annotations

import ctypes
import os
import signal

from jobs.slots.slot import is_gpu, visible_device
from workers.reporting import stop_signal

#: ``PR_SET_PDEATHSIG`` of Linux' prctl(2).
_PR_SET_PDEATHSIG = 1


def prepare(slot: str) -> None:
    """Pin the CUDA device, install the stop signal, and have the kernel kill this process when its parent dies.

    Celery calls this in a new child. ``CUDA_VISIBLE_DEVICES`` must be set before torch is imported.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = visible_device(slot) if is_gpu(slot) else ""
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # CUDA then numbers devices as nvidia-smi does
    stop_signal.install_handler()
    # An orphaned child would go on computing on a GPU that the next worker uses.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
