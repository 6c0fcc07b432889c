"""Memory measured: bytes of a pipeline's weights, of weight files, of RAM and device."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from jobs.settings import Settings
from jobs.slots.host import ram_bytes

#: Of the RAM, what models may take on a CPU, and what parked models leave free beside a GPU.
CPU_SHARE, FREE_RAM_SHARE = 0.5, 0.25


def weights_bytes(pipeline: Any) -> int:
    """Bytes of all weights and buffers of a pipeline, wherever they lie; shared ones count once."""
    found: dict[tuple[str, int], int] = {}
    for module in pipeline.components.values():
        for tensor in _tensors(module):
            storage = tensor.untyped_storage()
            found[str(tensor.device), storage.data_ptr() or id(tensor)] = (
                storage.nbytes()
            )  # meta tensors have no address
    return sum(found.values())


def _tensors(module: Any) -> Iterator[torch.Tensor]:
    if isinstance(module, torch.nn.Module):
        yield from module.parameters()
        yield from module.buffers()


def file_bytes(folder: Path, dtype: torch.dtype, variant: str | None = None) -> int:
    """Bytes that a component's safetensors files will take as ``dtype``, from their headers; 0 without such files."""
    return sum(_header_bytes(path, dtype.itemsize) for path in weight_files(folder, variant))


def weight_files(folder: Path, variant: str | None = None) -> list[Path]:
    """The safetensors files of a component: those of the variant, else those of none (``name.fp16.safetensors``)."""
    found = sorted(folder.glob("*.safetensors"))
    return [path for path in found if variant and f".{variant}" in path.name] or [
        path for path in found if "." not in path.stem
    ]


def _header_bytes(path: Path, item_bytes: int) -> int:
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
            total += (end - begin) * item_bytes // stored if is_float else end - begin
    return total


def device_budget_bytes(device: torch.device, settings: Settings) -> int:
    """What models may take of the device's memory, now: other processes' share is not ours."""
    if settings.memory.model_bytes:
        return settings.memory.model_bytes
    if device.type == "cpu":
        return int(CPU_SHARE * ram_bytes()[0])
    free, _total = torch.cuda.mem_get_info(device)
    return max(0, free + torch.cuda.memory_reserved(device) - settings.memory.vram_reserve_bytes)


def parking_room_bytes(device: torch.device, settings: Settings, parked_bytes: int) -> int:
    """How many bytes more may be parked in RAM, now; negative when some must go."""
    if settings.memory.parking_bytes:
        return settings.memory.parking_bytes - parked_bytes
    if device.type == "cpu":
        return -parked_bytes  # it would lie in the same memory
    total, available = ram_bytes()
    return int(available - FREE_RAM_SHARE * total)
