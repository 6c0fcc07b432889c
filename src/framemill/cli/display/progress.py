"""Progress of one job, or of many.

On a terminal, one line with a bar is redrawn in place. Elsewhere (a pipe, a log file), plain lines are written, at most
one every two seconds unless the state changes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

from rich.console import Console
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar as Bar
from rich.table import Table
from rich.text import Text

from framemill.cli.display.output import duration, need
from framemill.records import Job

#: Minimum interval between two plain lines with the same state, in seconds.
PLAIN_INTERVAL_S = 2.0

#: Most and fewest columns of a bar; it takes a quarter of a narrow terminal.
_MAX_BAR_COLUMNS, _MIN_BAR_COLUMNS = 24, 8
#: Columns that stay free: a terminal writes ``^C`` there, which would wrap, and the line would be drawn twice.
_FREE_COLUMNS = 3


class StatusLine:
    """One line that changes. Use it in a ``with`` block so that the last line is completed.

    Args:
        label: text before the bar.
        stream: output stream; default: standard error.
        clock: monotonic time in seconds.
    """

    def __init__(
        self, label: str = "", stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label = label
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        console = Console(file=self._stream, highlight=False)
        self._in_place = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._last_state: object = None
        self._last_written = 0.0
        self._last_text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def show(self, text: str, share: float | None, state: object = "") -> None:
        """Show a text, with a bar unless ``share`` (0 to 1) is None. A new ``state`` is always written."""
        if text == self._last_text:
            return
        if self._in_place:
            self._redraw(text, share)
        else:
            self._write_line(text, state)

    def clear(self) -> None:
        """Remove the line, so that other lines can be written; the next :meth:`show` draws it again."""
        if self._in_place and self._live.is_started:
            self._live.update(Text(""), refresh=True)
            self._live.stop()
            self._stream.write("\x1b[1A\x1b[2K")
            self._stream.flush()
            self._last_text = ""

    def close(self) -> None:
        """Complete the line, so that later output starts on a new line."""
        self._live.stop()

    def _redraw(self, text: str, share: float | None) -> None:
        line = Table.grid(padding=(0, 1))
        columns = max(_MIN_BAR_COLUMNS, min(_MAX_BAR_COLUMNS, self._live.console.width // 4))
        bar = () if share is None else (Bar(1.0, share, width=columns),)
        label = (Text(self._label),) if self._label else ()
        line.add_row(*label, *bar, Text(text, overflow="ellipsis", no_wrap=True))
        self._live.start()
        self._live.update(Constrain(line, self._live.console.width - _FREE_COLUMNS), refresh=True)
        self._last_text = text

    def _write_line(self, text: str, state: object) -> None:
        now = self._clock()
        if state == self._last_state and now - self._last_written < PLAIN_INTERVAL_S:
            return
        self._last_state, self._last_written, self._last_text = state, now, text
        self._stream.write(f"{self._label}  {text}\n" if self._label else f"{text}\n")
        self._stream.flush()


class ProgressBar(StatusLine):
    """Shows the progress of a job."""

    def update(self, job: Job) -> None:
        """Show the progress of ``job``. Suitable as ``on_update`` of :meth:`framemill.Client.wait`."""
        share = None if job.state == "paused" else done_share(job)  # the way out needs the room
        self.show(followed_text(job), share, (job.state, job.stage, job.waiting_for))


def followed_text(job: Job, *, left: bool = True) -> str:
    """Format the state of a job as :func:`progress_text`, for someone who waits for its end: with what that needs."""
    text = progress_text(job, left=left)
    return f"{text}; to go on: framemill resume {job.id}" if job.state == "paused" else text


def progress_text(job: Job, *, left: bool = True) -> str:
    """Format the state of a job: ``step 10/20, 3 s left``. Without ``left``, the remaining time is left out."""
    rest = "" if job.eta_s is None or not left else f", {duration(job.eta_s)} left"
    if job.state == "queued":
        # Position 0: the job is already on its way to a worker.
        return (f"waiting, position {job.position}" if job.position else "waiting") + rest + waiting_text(job)
    if job.state == "running" and not job.steps:
        return (job.stage or "starting") + rest
    if job.state == "running":
        step = job.step or 0
        text = f"step {step}/{job.steps}{rest}"
        percent = "" if job.stage_percent is None else f" {job.stage_percent} %"
        shows_stage = job.stage and (step == 0 or job.stage.startswith("waiting for "))
        return f"{text}, {job.stage}{percent}" if shows_stage else text
    if job.state == "paused":
        return f"paused at step {job.step}/{job.steps}" if job.step else "paused"
    if job.state == "delivering":
        return "saving" + waiting_text(job)
    return "done" if job.state == "succeeded" else job.state


def waiting_text(job: Job) -> str:
    """Format what keeps a job from going on, such as ``, for resume of the queue``; empty if nothing does."""
    thing = job.waiting_for or ""
    if thing.startswith("the time "):
        return f", {need(job)}"
    if thing.startswith("model "):
        return f", for a worker with {thing}; none is running"
    return f", for {thing}" if thing else ""


def done_share(job: Job) -> float | None:
    """Return the part of the steps that is done, 0 to 1; None for a state without a bar."""
    if job.waiting_for and job.state != "paused":
        return None  # the reason needs the room
    if job.state in ("delivering", "succeeded"):
        return 1.0
    if job.state in ("running", "paused") and job.steps:
        return max(0.0, min((job.step or 0) / job.steps, 1.0))
    return None
