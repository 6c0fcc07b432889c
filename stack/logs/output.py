"""Where the output of the processes goes: to log files, or to the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import click

from framemill.cli.display import terminal
from stack.logs.lines import SERIOUS, Tidy, for_people

#: Name of the stack's own lines.
SYSTEM = "system"
#: Lines of a process that are shown when it ends by itself.
TAIL_LINES = 8
_COLOURS = ("cyan", "yellow", "green", "magenta", "blue")


class Terminal:
    """Writes the lines of all processes to standard output, each with the time and the name of its process.

    Args:
        names: names of the processes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._prefixes = Prefixes((SYSTEM, *names))
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

    def ended(self, name: str, how: str) -> None:
        """Report that a process ended by itself."""
        self.say(f"{name} ended by itself ({how}); stopping the rest")

    def close(self) -> None:
        """Write what the ended processes have left in their pipes."""
        for reader in self._readers:
            reader.join(1.0)

    def _copy(self, name: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in iter(pipe.readline, b""):
                self._take(name, line if line.endswith(b"\n") else line + b"\n")

    def _take(self, name: str, line: bytes) -> None:
        if line.startswith(b"{"):
            line = _without_date(for_people(line.decode(errors="replace").rstrip()))
        self._write(name, line)

    def _write(self, name: str, line: bytes) -> None:
        prefix = f"{time.strftime('%H:%M:%S')} {self._prefixes.of(name)}"
        # The terminal may be gone. The pipes are read on, or the processes would block.
        with self._lock, contextlib.suppress(OSError):
            sys.stdout.buffer.write(prefix.encode() + line)
            sys.stdout.buffer.flush()


class LogFolder(Terminal):
    """Writes the output of each process to ``folder/NAME.log``, and to the terminal only errors and its own lines.

    Args:
        folder: created if missing. The log of the run before is kept as ``NAME.log.1``.
        names: names of the processes.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        super().__init__(names)
        self._folder = folder
        self._tidy = {name: Tidy() for name in names}
        self._tails: dict[str, deque[str]] = {name: deque(maxlen=TAIL_LINES) for name in names}
        self._files: dict[str, IO[bytes]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def open(self, name: str) -> IO[bytes]:
        path = self._folder / f"{name}.log"
        with contextlib.suppress(FileNotFoundError):
            path.replace(path.with_name(f"{path.name}.1"))
        # Other tools may empty the file; it is appended to.
        self._files[name] = path.open("ab", buffering=0)
        return super().open(name)

    def say(self, text: str) -> None:
        with self._lock, contextlib.suppress(OSError):
            sys.stdout.buffer.write(f"{text}\n".encode(errors="replace"))
            sys.stdout.buffer.flush()

    def ended(self, name: str, how: str) -> None:
        time.sleep(0.1)  # its last lines may still be in the pipe
        super().ended(name, how)
        tail = self._tails.get(name)
        if tail:
            self.say("\n".join(("its last lines:", *(f"  {line}" for line in tail))))

    def close(self) -> None:
        super().close()
        for file in self._files.values():
            file.close()

    def _take(self, name: str, line: bytes) -> None:
        tidy = self._tidy[name]
        text = tidy.line(line.decode(errors="replace"))
        if text is None:
            return
        self._tails[name].extend(for_people(text).splitlines())
        with contextlib.suppress(OSError, ValueError):  # the disk is full, or the stack has ended
            self._files[name].write(f"{text}\n".encode())
        if tidy.level in SERIOUS and not text[0].isspace():
            self._write(name, _without_date(for_people(text).partition("\n")[0], parts=2))


def _without_date(text: str, parts: int = 1) -> bytes:
    """Return a line without the first words, its date and time, of which the prefix says what matters."""
    return f"{text.split(' ', parts)[-1] if text[:1].isdigit() else text}\n".encode()


class Prefixes:
    """The names of processes before their lines: aligned, each in its colour.

    Args:
        names: all names.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._width = max(map(len, names), default=0)
        self._colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
        #: Whether standard output shows colours.
        self.are_coloured = terminal.has_colours(sys.stdout)

    def of(self, name: str) -> str:
        """Return what stands before a line of a process."""
        prefix = f"{name:{self._width}} | "
        return click.style(prefix, fg=self._colours.get(name)) if self.are_coloured else prefix
