"""The programs to run: entries of the Procfile, repeated for services, devices and back ends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_LINE = re.compile(r"^([A-Za-z0-9_-]+):\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Program:
    """A program to run as one process."""

    name: str
    command: str
    #: Environment variables of this process alone.
    environment: dict[str, str] = field(default_factory=dict)


def programs(procfile: str, slots: int, services: Iterable[int] = (), backends: Iterable[str] = ()) -> list[Program]:
    """Return every program to run.

    Args:
        procfile: text of the Procfile.
        slots: number of devices; the entry ``gpu0`` is repeated for each further device.
        services: ports of several web servers, each for one slot. Empty: one web server for all slots.
        backends: names of back ends. Each gets a worker like that of ``gpu0``.
    """
    processes = []
    for name, command in _LINE.findall(procfile):
        if name == "web" and services:
            processes += [
                Program(f"web{number}", command, {"PORT": str(port), "SERVICE_SLOT": f"gpu{number}"})
                for number, port in enumerate(services)
            ]
        elif name == "gpu0":
            names = [*(f"gpu{number}" for number in range(max(1, slots))), *backends]
            processes += [Program(slot, re.sub(r"\bgpu0\b", slot, command)) for slot in names]
        else:
            processes.append(Program(name, command))
    return processes
