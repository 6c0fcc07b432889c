"""Print results to standard output, and notes to standard error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from framemill.records import Job


def print_text(text: str) -> None:
    """Print a result."""
    print(text, flush=True)


def print_json(raw: Any) -> None:
    """Print a response of the server on one line."""
    print(json.dumps(raw), flush=True)


def note(text: str) -> None:
    """Print a message for people."""
    click.echo(text, err=True)


def paused_text(names: Sequence[str]) -> str:
    """Format the names of paused slots, of which ``*`` is the whole queue."""
    return ", ".join("the whole queue" if name == "*" else name for name in names)


def percent(job: Job) -> str:
    """Format the progress of a job: ``15 %``."""
    return "" if job.percent is None else f"{job.percent:.0f} %"


def summary(job: Job) -> str:
    """Format the current state of a job on one line: ``running  step 3/20, 15 %, 4 s left, on gpu0``."""
    parts = []
    if job.state == "queued" and job.position:
        parts.append(f"position {job.position}")
    if job.state == "running" or (job.state == "paused" and job.step):
        parts.append(f"step {job.step or 0}/{job.steps}" if job.steps else job.stage or "")
        parts.append(percent(job))
    parts.append("stops at its next step" if job.pausing else "")
    parts.append(need(job))
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


def size(size_bytes: int) -> str:
    """Format a number of bytes: ``31 KiB``, ``312 MiB``, ``6.9 GiB``."""
    mib = size_bytes / 2**20
    if 0 < mib < 0.1:
        return f"{max(1, size_bytes / 1024):.0f} KiB"
    return f"{mib / 1024:.1f} GiB" if mib >= 1000 else f"{mib:.0f} MiB" if mib >= 10 else f"{mib:.1f} MiB"


def clock(time: datetime) -> str:
    """Format a time for people, in their zone: ``18:00`` today, ``2026-01-31 18:00`` on any other day."""
    local = time.astimezone()
    return f"{local:%H:%M}" if local.date() == datetime.now().astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def need(job: Job) -> str:
    """Format what a job waits for: ``needs model sdxl``, ``not before 18:00``; '' for nothing, and for a paused job."""
    thing = job.waiting_for or ""
    if thing.startswith("the time ") and job.not_before:
        return f"not before {clock(job.not_before)}"
    return f"needs {thing}" if thing and job.state != "paused" else ""


def ago(time: datetime | None, now: datetime | None = None) -> str:
    """Format how long ago a time was: ``just now``, ``40 s ago``, ``2 min ago``, ``3 h ago``, ``5 days ago``."""
    if time is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - time).total_seconds()
    if seconds < 5:
        return "just now"
    for unit, length_s, limit_s in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400)):
        if seconds < limit_s:
            return f"{int(seconds // length_s)} {unit} ago"
    days = int(seconds // 86400)
    return f"{days} day{'' if days == 1 else 's'} ago"
