"""What the launcher starts: the Procfile's entries, repeated for services, devices and back ends."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from honcho.environ import parse_procfile


@dataclass(frozen=True)
class Entry:
    """One process."""

    name: str
    command: str
    #: What it is told beside the environment of all.
    environment: dict[str, str] = field(default_factory=dict)


def entries(procfile: str, slots: int, services: Iterable[int] = (), backends: Iterable[str] = ()) -> list[Entry]:
    """Every process to be started.

    Args:
        procfile: text of the Procfile.
        slots: number of devices; ``gpu0`` is repeated for each further one.
        services: ports of several web servers, each for one slot; empty: one for all.
        backends: names of back ends; each gets a worker like that of ``gpu0``.
    """
    found = []
    for name, command in parse_procfile(procfile).processes.items():
        if name == "web" and services:
            found += [
                Entry(f"web{number}", command, {"PORT": str(port), "SERVICE_SLOT": f"gpu{number}"})
                for number, port in enumerate(services)
            ]
        elif name == "gpu0":
            names = [*(f"gpu{number}" for number in range(max(1, slots))), *backends]
            found += [Entry(slot, re.sub(r"\bgpu0\b", slot, command)) for slot in names]
        else:
            found.append(Entry(name, command))
    return found
