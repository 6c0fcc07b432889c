"""The view of ``framemill top``: totals, slots and jobs, fitted to width and height of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar as Bar
from rich.table import Table
from rich.text import Text

from framemill.cli.display.output import ago, duration, need, paused_text
from framemill.cli.display.progress import done_share, progress_text
from framemill.cli.display.terminal import STATE_COLOURS
from framemill.records import FINAL_STATES, Job
from framemill.responses import Fleet, Queue, Slot

_BAR_COLUMNS = 16
#: Lines of the view besides the rows of slots and jobs.
_OTHER_LINES = 8


@dataclass(frozen=True)
class Snapshot:
    """What the server said."""

    url: str
    fleet: Fleet
    queue: Queue
    #: Unfinished jobs.
    jobs: Sequence[Job]
    #: Number of waiting jobs, of which ``jobs`` may have only the newest.
    queued: int

    def raw(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return {"fleet": self.fleet, "queue": self.queue, "jobs": [job.raw for job in self.jobs]}


def view(snapshot: Snapshot, width: int, height: int | None, trouble: str = "") -> RenderableType:
    """Return what is drawn.

    Args:
        snapshot: the state.
        width: columns of the terminal; the fewer there are, the fewer facts are shown.
        height: lines of the terminal; None: everything is drawn.
        trouble: why the state is not current; "": it is.
    """
    slots = snapshot.fleet["slots"]
    jobs = sorted(snapshot.jobs, key=_order)
    room = len(jobs) if height is None else max(1, height - _OTHER_LINES - len(slots))
    shown = sum(job.state == "queued" for job in jobs[:room])
    hidden = snapshot.queued - shown
    parts: list[RenderableType] = [_header(snapshot, trouble), Text(), _slots(slots, snapshot.jobs, width), Text()]
    if jobs:
        parts.append(_jobs(jobs[:room], width))
    if hidden > 0:
        parts.append(Text(f"and {hidden} more waiting", style="dim"))
    if not jobs:
        parts.append(Text("no unfinished jobs", style="dim"))
    return Group(*parts)


def _order(job: Job) -> tuple[int, int, str]:
    return (("running", "delivering", "queued", "paused").index(job.state), job.position or 0, job.id)


def _header(snapshot: Snapshot, trouble: str) -> Text:
    counts = snapshot.queue["counts"]
    active = ("running", "delivering", "queued")
    text = Text.assemble(("framemill", "bold"), f" {snapshot.fleet.get('version', '')}  {snapshot.url}\n")
    for state in (*active, "paused", *sorted(FINAL_STATES)):
        if state in active or counts.get(state):
            text.append(f"{counts.get(state, 0)} {state}  ", style=STATE_COLOURS.get(state, ""))
    paused = snapshot.queue.get("paused")
    if paused:
        text.append("paused: " + paused_text(paused), "yellow")
    if not snapshot.fleet.get("delivery"):
        text.append("  no delivery worker", style="red")
    if trouble:
        text.append(f"\n{trouble}", style="red")
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _slots(slots: Sequence[Slot], jobs: Sequence[Job], width: int) -> RenderableType:
    if not slots:
        return Text("no slots: no GPU worker runs", style="red")
    running = {job.slot: job for job in jobs if job.state == "running"}
    table = _Table(width)
    table.column("slot")
    table.column("state")
    table.column("load", 90, justify="right")
    table.column("memory", 90, justify="right")
    table.column("job", 70)
    table.column("progress", overflow="ellipsis", ratio=1)
    for slot in slots:
        state = f"{slot['state']}: {slot['waiting_for']}" if slot.get("waiting_for") else slot["state"]
        job = running.get(slot["name"])
        progress: RenderableType = Text(", ".join(slot.get("resident") or ()), style="dim")
        if job is not None:
            progress = _progress(job)
        table.row(slot["name"], _state(state), *_device(slot), "" if job is None else job.id, progress)
    return table.grid


def _device(slot: Slot) -> tuple[str, str]:
    facts = slot.get("device_facts") or {}
    if "utilization_percent" in facts:
        load = f"{facts['utilization_percent']:.0f} %"
        load += f" {facts['temperature_c']:.0f} °C" if "temperature_c" in facts else ""
    else:
        load = f"{facts['load_1min']:.1f}" if "load_1min" in facts else ""
    if "memory_used_bytes" not in facts or "memory_total_bytes" not in facts:
        return load, ""
    used, total = facts["memory_used_bytes"] / 2**30, facts["memory_total_bytes"] / 2**30
    return load, f"{used:.1f}/{total:.0f} GiB"


def _jobs(jobs: Sequence[Job], width: int) -> Table:
    table = _Table(width)
    table.column("job")
    table.column("state")
    table.column("model", 90, overflow="ellipsis", max_width=20)
    table.column("age", 80, justify="right")
    table.column("left", justify="right")
    table.column("prompt", 60, overflow="ellipsis", ratio=1)
    for job in jobs:
        state = f"queued #{job.position}" if job.state == "queued" and job.position else job.state
        left = "" if job.eta_s is None else duration(job.eta_s)
        reason = need(job) or " ".join((job.prompt or "").split())
        style = "yellow" if need(job) else ""
        age = ago(job.created_at).removesuffix(" ago")
        table.row(job.id, _state(state), job.model or "", age, left, Text(reason, style=style))
    return table.grid


def _progress(job: Job) -> RenderableType:
    share = done_share(job)
    text = Text(progress_text(job), overflow="ellipsis", no_wrap=True)
    if share is None:
        return text
    line = Table.grid(padding=(0, 1))
    line.add_row(Bar(1.0, share, width=_BAR_COLUMNS), text)
    return line


def _state(text: str) -> Text:
    return Text(text, style=STATE_COLOURS.get(text.split()[0].rstrip(":"), ""))


class _Table:
    """A table whose columns are shown where the terminal is wide enough for them."""

    def __init__(self, width: int) -> None:
        self.grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, expand=True, header_style="bold")
        self._width = width
        self._shown: list[bool] = []

    def column(self, title: str, least_width: int = 0, **options: Any) -> None:
        """Add a column that is shown in terminals of at least ``least_width`` columns."""
        self._shown.append(self._width >= least_width)
        if self._shown[-1]:
            self.grid.add_column(title, no_wrap=True, **options)

    def row(self, *cells: RenderableType) -> None:
        """Add a row, with a cell for each column."""
        self.grid.add_row(*(cell for cell, is_shown in zip(cells, self._shown, strict=True) if is_shown))
