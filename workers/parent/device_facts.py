"""The memory, load and temperature of a slot's device, measured by the worker's parent without a context on the GPU.

A GPU is read through NVML (the package ``nvidia-ml-py``); without it, or without a driver, the facts are missing.
What one device does not tell (a MIG part has no temperature) is missing alone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from jobs.slots.host import ram_bytes
from jobs.slots.slot import device_label, visible_device

logger = logging.getLogger(__name__)


def read(slot: str) -> dict[str, Any]:
    """Facts of a slot's device, by names with their units."""
    if device_label(slot) == "cpu":
        return _cpu()
    nvml = _nvml()
    return _gpu(nvml, visible_device(slot)) if nvml else {}


def _cpu() -> dict[str, Any]:
    total, available = ram_bytes()
    return {
        "name": _cpu_name(), "memory_total_bytes": total, "memory_free_bytes": available,
        "memory_used_bytes": total - available, "load_1min": round(os.getloadavg()[0], 2), "cores": os.cpu_count(),
    }  # fmt: skip


@cache
def _cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "cpu")


@cache
def _nvml() -> Any:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as exc:  # no package, no library, no driver
        logger.info("NVML is not there, the device's memory and temperature are not shown", extra={"error": repr(exc)})
        return None
    return pynvml


def _gpu(nvml: Any, visible: str) -> dict[str, Any]:
    """``visible``: an entry of CUDA_VISIBLE_DEVICES: a number in PCI order, or (the beginning of) a UUID."""

    def told(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except nvml.NVMLError:
            return None

    handle = told(lambda: _handle(nvml, visible))
    if handle is None:
        return {}
    memory = told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    name = told(lambda: nvml.nvmlDeviceGetName(handle))
    facts = {
        "name": name.decode() if isinstance(name, bytes) else name,
        "memory_total_bytes": memory and memory.total,
        "memory_free_bytes": memory and memory.free,
        "memory_used_bytes": memory and memory.used,
        "utilization_percent": told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
        "temperature_c": told(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
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
