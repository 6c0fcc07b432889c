"""Measure the memory, load and temperature of a slot's device in the parent process, without a context on the GPU.

A GPU is measured through NVML (package ``nvidia-ml-py``); without the package or a driver there are no facts. A value
that a device does not offer (a MIG part has no temperature) is left out.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from jobs.slots.slot import device_label, visible_device

logger = logging.getLogger(__name__)


def measure(slot: str) -> dict[str, Any]:
    """Return the facts of a slot's device; their names contain the units."""
    if device_label(slot) == "cpu":
        return _cpu_facts()
    nvml = _nvml()
    return _gpu_facts(nvml, visible_device(slot)) if nvml else {}


def _cpu_facts() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {
        "name": _cpu_name(), "memory_total_bytes": memory.total, "memory_free_bytes": memory.available,
        "memory_used_bytes": memory.total - memory.available, "load_1min": round(psutil.getloadavg()[0], 2),
        "cores": os.cpu_count(),
    }  # fmt: skip


@cache
def _cpu_name() -> str:
    """Return the CPU's model name, which neither ``platform`` nor psutil offers on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine() or "cpu")


@cache
def _nvml() -> Any:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as exc:  # no package, no library, no driver
        logger.info("NVML is not available: no memory and temperature of the device", extra={"error": repr(exc)})
        return None
    return pynvml


def _gpu_facts(nvml: Any, visible: str) -> dict[str, Any]:
    """Return the facts of one GPU.

    Args:
        nvml: the module ``pynvml``.
        visible: an entry of ``CUDA_VISIBLE_DEVICES``: a number in PCI order, or a UUID or the beginning of one.
    """

    def query(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except nvml.NVMLError:
            return None

    handle = query(lambda: _handle(nvml, visible))
    if handle is None:
        return {}
    memory = query(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    name = query(lambda: nvml.nvmlDeviceGetName(handle))
    facts = {
        "name": name.decode() if isinstance(name, bytes) else name,
        "memory_total_bytes": memory and memory.total,
        "memory_free_bytes": memory and memory.free,
        "memory_used_bytes": memory and memory.used,
        "utilization_percent": query(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        "temperature_c": query(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
    }
    return {fact: value for fact, value in facts.items() if value is not None}


def _handle(nvml: Any, visible: str) -> Any:
    if visible.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(visible))
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = nvml.nvmlDeviceGetUUID(handle)
        if (uuid.decode() if isinstance(uuid, bytes) else uuid).startswith(visible):
            return handle
    return nvml.nvmlDeviceGetHandleByUUID(visible.encode())  # a MIG part
