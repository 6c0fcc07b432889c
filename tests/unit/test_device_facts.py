"""Facts about devices: without a GPU from psutil; of a GPU from NVML, here a fake library with three devices."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import BadSetting
from workers.parent.devices import facts as device_facts


class NVMLError(Exception):
    """The error class of NVML."""


def nvml(**missing: bool) -> Any:
    """A fake of the package pynvml for two whole GPUs and a MIG instance."""
    uuids = ["GPU-aaaa-1", "GPU-bbbb-2"]

    def tell(name: str, value: Any) -> Any:
        def read(handle: Any, *_: Any) -> Any:
            if missing.get(name):
                raise NVMLError(name)
            return value(handle)

        return read

    def by_index(index: int) -> int:
        if index >= len(uuids):
            raise NVMLError("index")
        return index

    def by_uuid(uuid: bytes) -> int:
        if uuid != b"MIG-cccc":
            raise NVMLError("uuid")
        return 9

    return SimpleNamespace(
        NVMLError=NVMLError, NVML_TEMPERATURE_GPU=0, nvmlDeviceGetCount=lambda: len(uuids),
        nvmlDeviceGetHandleByIndex=by_index, nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetUUID=lambda handle: uuids[handle], nvmlDeviceGetName=tell("name", lambda handle: f"GPU {handle}"),
        nvmlDeviceGetMemoryInfo=tell("memory", lambda handle: SimpleNamespace(total=100, used=30, free=70)),
        nvmlDeviceGetUtilizationRates=tell("load", lambda handle: SimpleNamespace(gpu=55)),
        nvmlDeviceGetTemperature=tell("heat", lambda handle: 61),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("visible", "name"), [("1", "GPU 1"), ("GPU-aaaa-1", "GPU 0"), ("GPU-bb", "GPU 1"), ("MIG-cccc", "GPU 9")]
)
def test_the_device_of_the_slot_is_measured(visible: str, name: str) -> None:
    assert device_facts._gpu_facts(nvml(), visible) == {
        "name": name, "memory_total_bytes": 100, "memory_free_bytes": 70, "memory_used_bytes": 30,
        "utilization_percent": 55, "temperature_c": 61,
    }  # fmt: skip


def test_what_a_device_does_not_tell_is_missing_alone() -> None:
    facts = device_facts._gpu_facts(nvml(load=True, heat=True), "1")
    assert facts.keys() == {"name", "memory_total_bytes", "memory_free_bytes", "memory_used_bytes"}
    assert device_facts._gpu_facts(nvml(), "7") == {}


def test_without_a_gpu_the_host_is_measured() -> None:
    facts = device_facts.measure("gpu0")
    assert facts["memory_total_bytes"] == facts["memory_used_bytes"] + facts["memory_free_bytes"]
    assert facts["cores"] >= 1


def test_a_slot_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(device_facts, "device_label", lambda slot: "cuda:0")
    monkeypatch.setattr(device_facts, "_nvml", nvml)
    with pytest.raises(BadSetting):
        device_facts.measure("gpu3")
