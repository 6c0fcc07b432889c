"""Commands of operators for the queue: front, pause, resume, dead."""

from __future__ import annotations

from collections.abc import Sequence

import click

from framemill.cli.commands.server.service import paused_text
from framemill.cli.context.arguments import job_id as job_id_argument
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.tables import Column, table

slot_name = click.argument("slot", metavar="[SLOT]", required=False)


@click.command()
@job_id_argument()
@pass_session
def front(session: Session, job_id: str) -> None:
    """Move the waiting job ID to the front of the queue. Needs an admin key."""
    job = session.client.front(job_id)
    place = f"position {job.position}" if job.position else "on its way to a slot"
    session.print(job.raw, f"{job.id}: {place}")


@click.command()
@slot_name
@pass_session
def pause(session: Session, slot: str | None) -> None:
    """Start no more jobs on SLOT, or on any slot. Running jobs continue. Needs an admin key."""
    _print(session, session.client.pause(slot))


@click.command()
@slot_name
@pass_session
def resume(session: Session, slot: str | None) -> None:
    """End the pause of SLOT, or of the whole queue. Needs an admin key."""
    _print(session, session.client.resume(slot))


@click.command()
@pass_session
def dead(session: Session) -> None:
    """List the jobs that failed because their workers died. Needs an admin key."""
    jobs = session.client.dead()
    rows = [(job["id"], job["model"], job["error"]["message"] if job["error"] else "") for job in jobs]
    columns = ("id", "model", Column("error", flexible="wrap"))
    session.print({"dead": list(jobs)}, table(columns, rows) if rows else "")
    session.note("'framemill retry ID' submits one again" if rows else "there are none")


def _print(session: Session, paused: Sequence[str]) -> None:
    session.print({"paused": list(paused)}, f"paused: {paused_text(paused) or 'nothing'}")
