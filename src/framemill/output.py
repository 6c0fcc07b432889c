"""What the command prints: results (ids, tables, JSON) to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from framemill.progress import duration
from framemill.records import Status


def answer(arguments: Namespace, raw: Any, text: str) -> None:
    """``text``, or with ``--json`` the server's answer on one line."""
    if arguments.json:
        print(json.dumps(raw), flush=True)
    elif text:
        print(text, flush=True)


def say(text: str) -> None:
    print(text, file=sys.stderr)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    cells = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return "\n".join("  ".join(line).rstrip() for line in cells)


def percent(job: Status) -> str:
    return "" if job.percent is None else f"{job.percent:.0f} %"


def progress(job: Status) -> str:
    """A job's present on one line: ``running  step 3/20, 15 %, 4 s left, on gpu0``."""
    parts = []
    if job.state == "queued" and job.position:
        parts.append(f"position {job.position}")
    if job.state == "running":
        parts.append(f"step {job.step or 0}/{job.steps}" if job.steps else job.stage or "")
        parts.append(percent(job))
    if job.eta_s is not None and not job.ended:
        parts.append(f"{duration(job.eta_s)} left")
    if job.slot and not job.ended:
        parts.append(f"on {job.slot}")
    if job.error_code:
        parts.append(f"{job.error_message} ({job.error_code})")
    return f"{job.state}  {', '.join(filter(None, parts))}".rstrip()
