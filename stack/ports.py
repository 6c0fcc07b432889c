"""Find out which ports are taken, and by which process."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Required:
    """A port that the stack needs, and the environment variable that changes it."""

    variable: str
    host: str
    port: int
    user: str


def problems(required: Iterable[Required]) -> list[str]:
    """Return one sentence for each port that cannot be used; empty if all are free."""
    sentences: list[str] = []
    seen: dict[int, str] = {}
    for port in required:
        if not 1 <= port.port <= 65535:
            sentences.append(f"{port.variable}={port.port} is not a port: it must be 1 to 65535")
        elif port.port in seen:
            sentences.append(f"{port.variable} and {seen[port.port]} are both {port.port}: change one of them")
        else:
            why = refusal(port.host, port.port)
            if why:
                sentences.append(f"{port.user} cannot use port {port.port}: {why}. Set {port.variable} to another port")
        seen.setdefault(port.port, port.variable)
    return sentences


def refusal(host: str, port: int) -> str | None:
    """Return why ``host``:``port`` cannot be bound, in a few words; None if it can."""
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
    """Return the first free port from ``port`` on.

    Raises:
        OSError: ``host`` cannot be bound at all, or no higher port is free.
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
    """Return the process that listens on ``port``, as ``command (pid 1234)``; None if it is not visible.

    Other users' processes are visible to root only.
    """
    try:
        listening = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid
        }
    except psutil.AccessDenied:
        return None
    # The lowest id belongs to a server's main process rather than to one of its workers.
    for pid in sorted(listening):
        try:
            command = " ".join(psutil.Process(pid).cmdline())
        except psutil.Error:
            continue  # ended meanwhile
        return f"{command if len(command) <= 60 else command[:57] + '...'} (pid {pid})"
    return None


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        # As the servers do: connections of an earlier run in TIME_WAIT do not block the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # With SO_REUSEADDR, bind can succeed beside a listener on another address of this port; listen cannot.
        listener.listen(1)
    except OSError:
        listener.close()
        raise
    return listener
