"""Progress of one job in a terminal.

On a terminal one line is redrawn in place; elsewhere (a pipe, a log) plain lines are written, few enough to read.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

from framemill.records import Status

#: Elsewhere than on a terminal, a job that moves writes one line in this many seconds at most.
PLAIN_INTERVAL_S = 2.0

_CLEAR_LINE = "\r\x1b[K"
_BAR_COLUMNS = 24


class ProgressBar:
    """Shows the statuses it is given. Use it in a ``with`` block so that the last line is completed.

    Args:
        label: stands before the bar.
        stream: where to write; default: standard error.
        clock: seconds that only grow.
    """

    def __init__(
        self, label: str = "", stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label = f"{label}  " if label else ""
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._tty = self._stream.isatty()
        # Block characters only where the terminal's encoding has them.
        utf8 = (getattr(self._stream, "encoding", "") or "").lower().replace("-", "") == "utf8"
        self._full, self._empty = ("█", "░") if utf8 else ("#", "-")
        self._shown: tuple[str, str | None] | None = None
        self._shown_at = 0.0
        self._line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, status: Status) -> None:
        """Show ``status``; fits ``on_status`` of :meth:`framemill.Client.wait`."""
        line = self._label + self._describe(status)
        if line == self._line:
            return
        if self._tty:
            columns = shutil.get_terminal_size().columns
            self._write(_CLEAR_LINE + line[: columns - 1])
        else:
            now, shown = self._clock(), (status.state, status.stage)
            if shown == self._shown and now - self._shown_at < PLAIN_INTERVAL_S:
                return
            self._shown, self._shown_at = shown, now
            self._write(line + "\n")
        self._line = line

    def close(self) -> None:
        """Complete the line, so that what follows starts on a new one."""
        if self._tty and self._line:
            self._write("\n")
        self._line = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _describe(self, status: Status) -> str:
        if status.state == "queued":
            # Position 0: its turn has come, it is on its way to the worker.
            place = f"waiting, position {status.position}" if status.position else "waiting"
            return place + _left(status.eta_s)
        if status.state == "running" and not status.steps:
            return f"{status.stage or 'starting'}{_left(status.eta_s)}"
        if status.state == "running" and status.steps:
            step = status.step or 0
            text = f"{self._bar(step / status.steps)} step {step}/{status.steps}{_left(status.eta_s)}"
            done = "" if status.stage_percent is None else f" {status.stage_percent} %"
            return f"{text}, {status.stage}{done}" if status.stage and step == 0 else text
        if status.state == "delivering":
            return f"{self._bar(1)} saving"
        if status.state == "succeeded":
            return f"{self._bar(1)} done"
        return str(status.state)

    def _bar(self, part: float) -> str:
        full = round(max(0.0, min(part, 1.0)) * _BAR_COLUMNS)
        return self._full * full + self._empty * (_BAR_COLUMNS - full)


def duration(seconds: float) -> str:
    """``seconds`` for people: ``3 s``, ``2 min 05 s``, ``1 h 20 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _left(eta_s: float | None) -> str:
    return "" if eta_s is None else f", {duration(eta_s)} left"
