"""Print results to standard output, and notes to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from framemill.records import Job

#: Width of tables that do not go to a terminal, in columns: nothing is wrapped, one row is one line.
_UNLIMITED = 100_000


def print_text(text: str) -> None:
    """Print a result."""
    print(text, flush=True)


def print_json(raw: Any) -> None:
    """Print a response of the server on one line."""
    print(json.dumps(raw), flush=True)


def note(text: str) -> None:
    """Print a message for people."""
    click.echo(text, err=True)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Format a table. Columns are two spaces apart; on a terminal, long cells are wrapped."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in head:
        grid.add_column(Text(title))
    for row in rows:
        grid.add_row(*map(Text, row))
    console = Console(width=None if sys.stdout.isatty() else _UNLIMITED)
    with console.capture() as captured:
        console.print(grid)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def percent(job: Job) -> str:
    """Format the progress of a job: ``15 %``."""
    return "" if job.percent is None else f"{job.percent:.0f} %"


def summary(job: Job) -> str:
    """Format the current state of a job on one line: ``running  step 3/20, 15 %, 4 s left, on gpu0``."""
    parts = []
    if job.state == "queued" and job.position:
        parts.append(f"position {job.position}")
    if job.state == "running":
        parts.append(f"step {job.step or 0}/{job.steps}" if job.steps else job.stage or "")
        parts.append(percent(job))
    if job.waiting_for:
        parts.append(f"needs {job.waiting_for}")
    if job.eta_s is not None and not job.finished:
        parts.append(f"{duration(job.eta_s)} left")
    if job.slot and not job.finished:
        parts.append(f"on {job.slot}")
    if job.error_code:
        parts.append(f"{job.error_message} ({job.error_code})")
    return f"{job.state}  {', '.join(filter(None, parts))}".rstrip()


def duration(seconds: float) -> str:
    """Format a duration: ``3 s``, ``2 min 05 s``, ``1 h 20 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
