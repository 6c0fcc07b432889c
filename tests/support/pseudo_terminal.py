"""A program in a terminal of a given size: what it writes, and the keys that are pressed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

#: Longest wait for a text, in seconds; machines of tests are busy.
PATIENCE_S = 60.0


class PseudoTerminal:
    """Runs a command until it ends or the block does.

    Args:
        command: the command.
        columns: width.
        lines: height.
        environ: variables beside those of this process.
    """

    def __init__(
        self, command: Sequence[str], columns: int = 80, lines: int = 24, environ: Mapping[str, str] | None = None
    ) -> None:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        unset = ("COLUMNS", "LINES", "NO_COLOR", "TMUX", "TERM_PROGRAM", "LC_TERMINAL", "COLORTERM")
        variables = {name: value for name, value in os.environ.items() if name not in unset}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**variables, "TERM": "xterm-256color", **(environ or {})},
        )  # fmt: skip
        os.close(slave)
        self.raw = ""

    def __enter__(self) -> PseudoTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    @property
    def text(self) -> str:
        """Everything that was written, without the sequences that control the terminal."""
        return re.sub(r"\x1b(\[[\d;?]*[A-Za-z]|_[^\x1b]*\x1b\\)", "", self.raw).replace("\r", "")

    def await_text(self, text: str) -> None:
        """Wait until a text was written."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.raw and text not in self.text:
            assert time.monotonic() < deadline, f"no {text!r} in {self.raw!r}"
            # Looked at first: a command may write and end after a read that found nothing.
            has_ended = self.process.poll() is not None
            assert self._read() or not has_ended, f"ended without {text!r}: {self.raw!r}"

    def press(self, keys: str) -> None:
        """Press keys; ``\\x03`` is Ctrl-C."""
        os.write(self._master, keys.encode())

    def await_end(self) -> int:
        """Wait until the command has ended, and return its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            self._read()
            assert time.monotonic() < deadline, f"still runs: {self.raw!r}"
        while self._read():  # what it wrote last
            pass
        return self.process.wait()

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.05)[0]:
            return False
        with contextlib.suppress(OSError):  # the last program that had the terminal has ended
            content = os.read(self._master, 65536)
            self.raw += content.decode(errors="replace")
            return bool(content)
        return False
