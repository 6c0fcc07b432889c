"""Where the output of the processes goes: to the terminal, or to log files."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import click

#: Name of the stack's own lines.
SYSTEM = "system"
_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")


class Terminal:
    """Writes the lines of all processes to standard output, each with the time and the name of its process.

    Args:
        names: names of the processes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._width = max(map(len, (SYSTEM, *names)))
        self._colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
        self._is_terminal = sys.stdout.isatty()
        self._lock = threading.Lock()
        self._readers: list[threading.Thread] = []

    def open(self, name: str) -> IO[bytes]:
        """Return a stream for the output of a process."""
        read_end, write_end = os.pipe()
        reader = threading.Thread(target=self._copy, args=(name, os.fdopen(read_end, "rb")), daemon=True)
        reader.start()
        self._readers.append(reader)
        return os.fdopen(write_end, "wb")

    def say(self, text: str) -> None:
        """Write a line of the stack itself. Safe in any thread."""
        self._write(SYSTEM, f"{text}\n".encode())

    def close(self) -> None:
        """Write what the ended processes have left in their pipes."""
        for reader in self._readers:
            reader.join(1.0)

    def _copy(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in iter(pipe.readline, b""):
                self._write(name, line if line.endswith(b"\n") else line + b"\n")

    def _write(self, name: str, line: bytes) -> None:
        prefix = f"{time.strftime('%H:%M:%S')} {name:{self._width}} | "
        if self._is_terminal and name in self._colours:
            prefix = click.style(prefix, fg=self._colours[name])
        # The terminal may be gone. The pipes are read on, or the processes would block.
        with self._lock, contextlib.suppress(OSError):
            sys.stdout.buffer.write(prefix.encode() + line)
            sys.stdout.buffer.flush()


class LogFolder(Terminal):
    """Writes the output of each process to ``folder/NAME.log``; the stack's own lines go to standard output.

    Args:
        folder: created if missing. Logs of an earlier run are replaced.
        names: names of the processes.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        super().__init__(names)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, name: str) -> IO[bytes]:
        return (self._folder / f"{name}.log").open("wb")
