"""What the terminal can show: its width, and whether it shows colours."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TextIO

import click

#: Colours of states of jobs and slots.
STATE_COLOURS = {
    "succeeded": "green", "idle": "green", "running": "cyan", "busy": "cyan", "delivering": "blue", "queued": "yellow",
    "waiting": "yellow", "paused": "yellow", "draining": "yellow", "failed": "red", "lost": "red",
}  # fmt: skip


def is_terminal(stream: TextIO) -> bool:
    """Return whether a person reads the stream, on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def has_colours(stream: TextIO) -> bool:
    """Return whether the stream shows colours: not in a pipe, and not with ``NO_COLOR``."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def width() -> int:
    """Return the number of columns of the terminal."""
    return shutil.get_terminal_size().columns


def coloured_state(state: str) -> str:
    """Return a state, for standard output, in its colour."""
    first = state.partition(" ")[0]
    if first not in STATE_COLOURS or not has_colours(sys.stdout):
        return state
    return click.style(first, fg=STATE_COLOURS[first]) + state.removeprefix(first)
