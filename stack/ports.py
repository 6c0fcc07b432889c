"""Which ports are taken, and by whom."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"
_SOCKET_LINK = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True)
class Wanted:
    """A port the stack needs, and the environment variable that changes it."""

    variable: str
    host: str
    port: int
    what: str


def problems(wanted: Iterable[Wanted]) -> list[str]:
    """One sentence for each port that cannot be used; empty when all are free."""
    found: list[str] = []
    seen: dict[int, str] = {}
    for want in wanted:
        if not 1 <= want.port <= 65535:
            found.append(f"{want.variable}={want.port} is no port: it must be 1 to 65535")
        elif want.port in seen:
            found.append(f"{want.variable} and {seen[want.port]} are both {want.port}: change one of them")
        else:
            why = refusal(want.host, want.port)
            if why:
                found.append(f"{want.what} cannot use port {want.port}: {why}. Set {want.variable} to another port")
        seen.setdefault(want.port, want.variable)
    return found


def refusal(host: str, port: int) -> str | None:
    """Why ``host``:``port`` cannot be bound, in a few words; None when it can."""
    try:
        with _bound(host, port):
            return None
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE:
            return f"it is taken by {owner(port) or 'a process that cannot be seen from here'}"
        if exc.errno == errno.EACCES:
            return "this user may not open it"
        return f"{host}: {exc.strerror or exc}"


def next_free(host: str, port: int, avoid: Iterable[int] = ()) -> int:
    """The first free port from ``port`` on.

    Raises:
        OSError: ``host`` cannot be bound at all, or no port above is free.
    """
    taken = set(avoid)
    for candidate in range(port, 65536):
        if candidate in taken:
            continue
        try:
            with _bound(host, candidate):
                return candidate
        except OSError as exc:
            if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
    raise OSError(errno.EADDRINUSE, f"no free port from {port} on")


def owner(port: int) -> str | None:
    """The process that listens on ``port``, as ``name (pid 1234)``; None when it cannot be seen.

    Linux only. Another user's processes are visible to root alone.
    """
    inodes = _listening_inodes(port)
    # Lowest first: a server's master rather than one of its workers.
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            for descriptor in os.listdir(process / "fd"):
                match = _SOCKET_LINK.fullmatch(os.readlink(process / "fd" / descriptor))
                if match and match.group(1) in inodes:
                    return f"{_name(process)} (pid {process.name})"
        except OSError:
            continue  # gone meanwhile, or another user's
    return None


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # As the servers do: connections of an earlier run that linger in TIME_WAIT are no obstacle.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # With SO_REUSEADDR a bind can succeed beside a listener on another address of this port; listen cannot.
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                inodes.add(columns[9])
    return inodes


def _name(process: Path) -> str:
    words = (process / "cmdline").read_bytes().split(b"\0")
    text = " ".join(word.decode("utf-8", "replace") for word in words if word)
    return text if len(text) <= 60 else text[:57] + "..."
