"""Commands of operators: front, drain, yield, dead, storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from framemill.cli.context.arguments import job_id as job_id_argument
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import ago, size
from framemill.cli.display.tables import Column, table
from framemill.responses import Drain, YieldedSlot

#: How long the server may delay its response while a slot is drained, seconds.
_DRAIN_WAIT_S = 30.0

S = TypeVar("S", Drain, YieldedSlot)


@click.command()
@job_id_argument()
@pass_session
def front(session: Session, job_id: str) -> None:
    """Move the waiting job ID to the front of the queue. Needs an admin key."""
    job = session.client.front(job_id)
    place = f"position {job.position}" if job.position else "on its way to a slot"
    session.print(job.raw, f"{job.id}: {place}")


@click.command()
@click.argument("slots", metavar="[SLOT...]", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Drain all slots that there are now.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the running jobs.")
@pass_session
def drain(session: Session, slots: Sequence[str], everything: bool, no_wait: bool) -> None:
    """Start no more jobs on SLOT, and wait until it runs none. 'framemill resume --slot SLOT' ends this.

    Ctrl-C ends the command; the slots stay paused. Needs an admin key.
    """
    client = session.client
    if bool(slots) == everything:
        raise click.UsageError("give the names of slots, or --all")
    names = [slot["name"] for slot in client.fleet()["slots"]] if everything else slots
    _take_out(session, names, client.drain, lambda state: state["drained"], _drained_text, no_wait=no_wait)
    if not names and not session.as_json:
        session.note("there are no slots")


@click.command("yield")
@click.argument("slots", metavar="SLOT...", nargs=-1, required=True)
@click.option("--no-wait", is_flag=True, help="Do not wait for the running jobs.")
@pass_session
def yield_memory(session: Session, slots: Sequence[str], no_wait: bool) -> None:
    """Free the GPU memory of SLOT for other programs, between two jobs. 'framemill resume --slot SLOT' ends this.

    The slot starts no more jobs, and its models leave the memory, pinned ones too. Needs an admin key.
    """
    _take_out(session, slots, session.client.yield_slot, lambda state: state["yielded"], _yielded_text, no_wait=no_wait)


def _take_out(
    session: Session, names: Sequence[str], ask: Callable[[str, float], S], is_done: Callable[[S], bool],
    text: Callable[[S], str], *, no_wait: bool,
) -> None:  # fmt: skip
    """Ask slots to take no more jobs, wait until each has done what was asked for, and print their states."""
    states = [ask(name, 0) for name in names]  # all of them, before any is waited for
    for number, state in enumerate(states):
        if state["job_id"] and not no_wait:
            session.note(f"{state['slot']} finishes job {state['job_id']}")
        while not (is_done(state) or no_wait):
            state = ask(state["slot"], _DRAIN_WAIT_S)
        states[number] = state
        if not session.as_json:
            session.print(state, f"{state['slot']} {text(state)}")
    if session.as_json:
        session.print({"slots": states}, "")


def _drained_text(state: Drain) -> str:
    return "is drained" if state["drained"] else f"is draining: it runs job {state['job_id']}"


def _yielded_text(state: YieldedSlot) -> str:
    if not state["yielded"]:
        return f"gives up its memory after job {state['job_id']}" if state["job_id"] else "is giving up its memory"
    used, total = state["memory_used_bytes"], state["memory_total_bytes"]
    measured = f"; {size(used)} of {size(total)} are used" if used is not None and total else ""
    return f"holds no GPU memory{measured}"


@click.command()
@pass_session
def dead(session: Session) -> None:
    """List the jobs that failed because their workers died. Needs an admin key."""
    jobs = session.client.dead()
    rows = [(job["id"], job["model"], job["error"]["message"] if job["error"] else "") for job in jobs]
    columns = ("id", "model", Column("error", flexible="wrap"))
    session.print({"dead": list(jobs)}, table(columns, rows) if rows else "")
    session.note("'framemill retry ID' submits one again" if rows else "there are none")


@click.command()
@pass_session
def storage(session: Session) -> None:
    """Show how many files are stored, how long they are kept, and the space on the disks. Needs an admin key."""
    state = session.client.storage()
    stored, kept = state.get("stored"), state["retention"]
    lines = [f"{'store':13}{f'bucket {bucket}' if (bucket := state['bucket']) else 'a folder'}"]
    amounts: Mapping[str, Any] = stored or {}
    for name in ("outputs", "inputs", "checkpoints"):
        if amount := amounts.get(name):  # older servers do not count checkpoints
            lines.append(f"{name:13}{amount['files']} files, {size(amount['bytes'])}")
    lasts = {"hours": f"{kept['hours']:g} h", "days": f"{kept['days']:g} days", "keep": "until their job is deleted"}
    lines.append(f"{'kept':13}{lasts[kept['default']]}")
    lines += [
        f"{'disk':13}{disk['name']}: {size(disk['free_bytes'])} of {size(disk['total_bytes'])} free"
        for disk in state["disks"]
    ]
    session.print(state, "\n".join(lines))
    if stored:
        session.note(f"counted {ago(datetime.fromisoformat(stored['counted_at']))}" if stored["counted_at"] else "")
    else:
        session.note("files are not counted yet: delivery workers count them")
