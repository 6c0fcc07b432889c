"""Slots: places that run one job at a time."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.errors import BadSetting
from jobs.slots.residency import Held, device_from, held_from

#: Stands for every slot when the queue is paused.
ALL_SLOTS = "*"

_GPU_QUEUE = re.compile(r"(?:(?P<node>[A-Za-z0-9_-]+)\.)?gpu(?P<index>\d{1,3})")
#: Names of back ends, which are slots, too. The hyphen tells them from mistyped devices and from other queues.
MAX_BACKEND_NAME_CHARS = 32
_BACKEND = re.compile(rf"(?=.{{3,{MAX_BACKEND_NAME_CHARS}}}$)[A-Za-z][A-Za-z0-9_]*(-[A-Za-z0-9_]+)+")


@dataclass(frozen=True)
class Redelivery:
    """Computed frames that wait on a host for their delivery."""

    job_id: str
    attempt: int
    node: str


@dataclass(frozen=True)
class Slot:
    """What a slot's worker announced, and what it does now."""

    name: str
    node: str
    #: ``cpu`` or ``cuda:N``.
    device: str
    #: As the driver calls it; '' until the first model is loaded.
    device_name: str
    #: Models it may run.
    models: tuple[str, ...]
    job_id: str | None
    draining: bool
    #: Whether its lease is overdue.
    suspect: bool
    #: Pipelines loaded since its process started.
    loads: int
    #: Models in its memory that a job could start with at once.
    resident: tuple[str, ...]
    #: Why it gets no new job at the moment, for people; ''.
    blocked: str = ""
    #: All models in its memory.
    held: tuple[Held, ...] = ()
    #: The device's memory, load and temperature; what cannot be measured is missing.
    device_facts: Mapping[str, Any] = field(default_factory=dict)
    #: Times that a run found too little memory, since its process started.
    ooms: int = 0

    @classmethod
    def from_hash(cls, name: str, values: Mapping[str, str]) -> Slot:
        return cls(
            name=name,
            node=values.get("node", ""),
            device=values.get("device", ""),
            device_name=values.get("device_name", ""),
            models=tuple(json.loads(values.get("models") or "[]")),
            job_id=values.get("job") or None,
            draining=bool(values.get("draining")),
            suspect=bool(values.get("suspect_at")),
            loads=int(values.get("loads") or 0),
            resident=tuple(filter(None, values.get("resident", "").split(","))),
            blocked=values.get("blocked", ""),
            held=held_from(values),
            device_facts=device_from(values),
            ooms=int(values.get("ooms") or 0),
        )


def start_ticks(pid: int) -> str:
    """When a process was started, in clock ticks since boot: tells a reused process id. '' if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def owner_name(node: str) -> str:
    """This process as the holder of a slot."""
    return f"{node}:{os.getpid()}:{start_ticks(os.getpid())}"


def is_gpu(slot: str) -> bool:
    """Whether a slot is a device of some host, not a back end."""
    return _GPU_QUEUE.fullmatch(slot) is not None


def is_backend_name(name: str) -> bool:
    """Whether a back end may be called so."""
    return _BACKEND.fullmatch(name) is not None


def is_slot(name: str) -> bool:
    """Whether a slot may be called so: ``gpu0``, ``nodeb.gpu0``, or the name of a back end."""
    return is_gpu(name) or is_backend_name(name)


def slot_of(queues: list[str], backends: Collection[str] = ()) -> str | None:
    """The slot among a worker's queues (``gpu0``, ``nodeb.gpu3``, a back end's name); None for a worker without one.

    Raises:
        BadSetting: more than one; a worker serves one device.
    """
    found = [queue for queue in queues if is_gpu(queue) or queue in backends]
    if len(found) > 1:
        raise BadSetting(f"one worker serves one GPU queue, not {', '.join(found)}: start one worker for each")
    return found[0] if found else None


def gpu_index(slot: str) -> int:
    """Number of the CUDA device that a slot's name stands for."""
    match = _GPU_QUEUE.fullmatch(slot)
    if match is None:
        raise BadSetting(f"{slot} is no GPU queue: gpu0, gpu1, … or <host>.gpu0")
    return int(match["index"])


def device_label(slot: str) -> str:
    """``cuda:N`` with the number ``nvidia-smi`` shows, ``cpu`` without a GPU, or ``remote``. Needs no torch."""
    if not is_gpu(slot):
        return "remote"
    return f"cuda:{visible_device(slot)}" if Path("/proc/driver/nvidia/gpus").is_dir() else "cpu"


def visible_device(slot: str, environ: Mapping[str, str] = os.environ) -> str:
    """The ``CUDA_VISIBLE_DEVICES`` of a slot: the slot's entry of an existing list, or its own number."""
    index = gpu_index(slot)
    listed = [entry.strip() for entry in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    if not listed:
        return str(index)
    if index >= len(listed):
        raise BadSetting(f"{slot} does not exist: CUDA_VISIBLE_DEVICES names {len(listed)} devices")
    return listed[index]
