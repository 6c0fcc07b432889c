"""Measure memory: the weights of a pipeline, weight files, RAM and device."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from jobs.settings import Settings
from jobs.slots.host import ram_bytes

#: Share of the RAM that models may use on a CPU, and that parked models leave free beside a GPU.
CPU_SHARE, FREE_RAM_SHARE = 0.5, 0.25


def weights_bytes(loaded: Any) -> int:
    """Return the bytes of all weights and buffers of a pipeline or module on any device; shared ones count once."""
    storages: dict[tuple[str, int], int] = {}
    for module in [loaded] if isinstance(loaded, torch.nn.Module) else loaded.components.values():
        for tensor in _tensors(module):
            storage = tensor.untyped_storage()
            address = storage.data_ptr() or id(tensor)  # meta tensors have no address
            storages[str(tensor.device), address] = storage.nbytes()
    return sum(storages.values())


def _tensors(module: Any) -> Iterator[torch.Tensor]:
    if isinstance(module, torch.nn.Module):
        for tensor in (*module.parameters(), *module.buffers()):
            yield from _parts(tensor)


def _parts(tensor: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors that a tensor consists of: weights of torchao and quanto have no memory of their own."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _parts(getattr(tensor, name))


def file_bytes(folder: Path, dtype: torch.dtype, variant: str | None = None) -> int:
    """Return the bytes of a component's safetensors files when loaded as ``dtype``, from their headers; 0 if none."""
    return sum(header_bytes(path, dtype) for path in weight_files(folder, variant))


def weight_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Return a component's files of the variant (``name.fp16.safetensors``), else its files without a variant."""
    paths = sorted(folder.glob("*.safetensors"))
    of_variant = [path for path in paths if variant and f".{variant}" in path.name]
    return of_variant or [path for path in paths if "." not in path.stem]


def header_bytes(path: Path, dtype: torch.dtype) -> int:
    """Return the bytes of one safetensors file when loaded as ``dtype``, from its header."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    total = 0
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            # Only floating-point weights are converted.
            is_float = tensor["dtype"].startswith(("F", "BF"))
            stored = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}.get(tensor["dtype"], 1)
            total += (end - begin) * dtype.itemsize // stored if is_float else end - begin
    return total


def device_budget_bytes(device: torch.device, settings: Settings) -> int:
    """Return the bytes of the device's memory that models may use now, without the share of other processes."""
    if settings.memory.model_bytes:
        return settings.memory.model_bytes
    if device.type == "cpu":
        return int(CPU_SHARE * ram_bytes()[0])
    free, _total = torch.cuda.mem_get_info(device)
    return max(0, free + torch.cuda.memory_reserved(device) - settings.memory.vram_reserve_bytes)


def parking_room_bytes(device: torch.device, settings: Settings, parked_bytes: int) -> int:
    """Return how many more bytes may be parked in RAM now; negative if some must be evicted."""
    if settings.memory.parking_bytes:
        return settings.memory.parking_bytes - parked_bytes
    if device.type == "cpu":
        return -parked_bytes  # parked models would occupy the same memory
    total, available = ram_bytes()
    return int(available - FREE_RAM_SHARE * total)
