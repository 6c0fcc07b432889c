"""Slots: places that run one job at a time, their names and their devices."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from jobs.errors import BadSetting
from jobs.slots.residency import LoadedModel, device_facts_from, loaded_models_from

#: Stands for every slot when the queue is paused.
ALL_SLOTS = "*"

#: Names in the hash of a slot of what :class:`Slot` has.
FACTS = (
    "node", "device", "device_name", "models", "job", "draining", "suspect_at", "loads", "resident", "blocked", "held",
    "device_facts", "ooms", "yielded",
)  # fmt: skip

_GPU_QUEUE = re.compile(r"(?:(?P<node>[A-Za-z0-9_-]+)\.)?gpu(?P<index>\d{1,3})")
#: Names of back ends, which are slots too. The hyphen distinguishes them from mistyped devices and other queues.
MAX_BACKEND_NAME_CHARS = 32
_BACKEND = re.compile(rf"(?=.{{3,{MAX_BACKEND_NAME_CHARS}}}$)[A-Za-z][A-Za-z0-9_]*(-[A-Za-z0-9_]+)+")


@dataclass(frozen=True)
class Redelivery:
    """An attempt whose computed outputs wait on a host for delivery."""

    job_id: str
    attempt: int
    node: str


@dataclass(frozen=True)
class Slot:
    """The facts that a slot's worker announced, and what the slot does now."""

    name: str
    node: str
    #: ``cpu`` or ``cuda:N``.
    device: str
    #: Name of the device from the driver; '' until the first model is loaded.
    device_name: str
    #: Models it may run.
    models: tuple[str, ...]
    job_id: str | None
    draining: bool
    #: Whether its lease is overdue.
    suspect: bool
    #: Number of pipelines loaded since its process started.
    loads: int
    #: Models in its memory with which a job could start at once.
    resident: tuple[str, ...]
    #: Why it gets no new job at the moment, in words; '' if it may.
    blocked: str = ""
    #: All models in its memory.
    loaded_models: tuple[LoadedModel, ...] = ()
    #: Whether it has given up the memory of its device, see ``framemill yield``.
    yielded: bool = False
    #: Memory, load and temperature of the device; values that cannot be measured are missing.
    device_facts: Mapping[str, Any] = field(default_factory=dict)
    #: Number of runs that found too little memory since its process started.
    ooms: int = 0

    @classmethod
    def from_hash(cls, name: str, values: Mapping[str, str]) -> Slot:
        return cls(
            name=name,
            node=values.get("node", ""),
            device=values.get("device", ""),
            device_name=values.get("device_name", ""),
            models=_models_from(values.get("models") or "[]"),
            job_id=values.get("job") or None,
            draining=bool(values.get("draining")),
            suspect=bool(values.get("suspect_at")),
            loads=int(values.get("loads") or 0),
            resident=tuple(filter(None, values.get("resident", "").split(","))),
            blocked=values.get("blocked", ""),
            loaded_models=loaded_models_from(values),
            device_facts=device_facts_from(values),
            ooms=int(values.get("ooms") or 0),
            yielded=bool(values.get("yielded")),
        )


@lru_cache(maxsize=256)
def _models_from(text: str) -> tuple[str, ...]:
    """Return the models that a slot announces; most slots announce the same."""
    return tuple(json.loads(text))


def start_ticks(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; '' if there is no such process.

    Together with the process id this identifies a process. psutil's ``create_time`` would not do: it depends on the
    system clock, so two processes may see different values for the same process.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def owner_name(node: str) -> str:
    """Return the name of this process as the owner of a slot."""
    return f"{node}:{os.getpid()}:{start_ticks(os.getpid())}"


def is_gpu(slot: str) -> bool:
    """Return whether a slot is a device of a host, not a back end."""
    return _GPU_QUEUE.fullmatch(slot) is not None


def is_backend_name(name: str) -> bool:
    """Return whether a back end may have this name."""
    return _BACKEND.fullmatch(name) is not None


def is_slot(name: str) -> bool:
    """Return whether a slot may have this name: ``gpu0``, ``nodeb.gpu0``, or the name of a back end."""
    return is_gpu(name) or is_backend_name(name)


def slot_of(queues: list[str], backends: Collection[str] = ()) -> str | None:
    """Return the slot among a worker's queues (``gpu0``, ``nodeb.gpu3``, a back end's name); None if there is none.

    Raises:
        BadSetting: there is more than one.
    """
    slots = [queue for queue in queues if is_gpu(queue) or queue in backends]
    if len(slots) > 1:
        raise BadSetting(f"one worker serves one GPU queue, not {', '.join(slots)}: start one worker for each")
    return slots[0] if slots else None


def gpu_index(slot: str) -> int:
    """Return the number of the CUDA device in a slot's name. Raises: BadSetting."""
    match = _GPU_QUEUE.fullmatch(slot)
    if match is None:
        raise BadSetting(f"{slot} is not a GPU queue: gpu0, gpu1, … or <host>.gpu0")
    return int(match["index"])


def device_label(slot: str) -> str:
    """Return ``cuda:N`` (numbered as in ``nvidia-smi``), ``cpu`` without a GPU, or ``remote``. Needs no torch."""
    if not is_gpu(slot):
        return "remote"
    return f"cuda:{visible_device(slot)}" if Path("/proc/driver/nvidia/gpus").is_dir() else "cpu"


def visible_device(slot: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the ``CUDA_VISIBLE_DEVICES`` of a slot: its entry in an existing list, else its number.

    Raises:
        BadSetting: the list has no such entry.
    """
    index = gpu_index(slot)
    listed = [entry.strip() for entry in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    if not listed:
        return str(index)
    if index >= len(listed):
        raise BadSetting(f"{slot} does not exist: CUDA_VISIBLE_DEVICES names {len(listed)} devices")
    return listed[index]
