"""``framemill list``: jobs in a table."""

from __future__ import annotations

import click

from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import ago, duration
from framemill.cli.display.tables import Column, table
from framemill.records import Job

STATES = ("queued", "running", "delivering", "succeeded", "failed", "cancelled", "expired")
COLUMNS = (
    Column("id"),
    Column("state", is_state=True),
    Column("model", spare=3),
    Column("kind", spare=4),
    Column("prompt", flexible="cut", spare=1),
    Column("created", spare=2),
    Column("took", spare=5),
)


@click.command()
@click.option("--state", type=click.Choice(STATES), help="Only jobs in this state.")
@click.option("--limit", type=int, metavar="N", help="Number of jobs. Default: 50.")
@click.option("--after", metavar="ID", help="Continue after this job.")
@pass_session
def list_jobs(session: Session, state: str | None, limit: int | None, after: str | None) -> None:
    """List jobs, newest first."""
    page = session.client.list(state, limit, after)
    raw = {"jobs": [job.raw for job in page.jobs], "total": page.total, "next": page.next}
    session.print(raw, table(COLUMNS, map(_row, page.jobs)) if page.jobs else "")
    if not page.jobs:
        session.note(f"no job is {state}" if state else "there are no jobs; 'framemill submit' makes one")
    if page.next:
        session.note(f"{len(page.jobs)} of {page.total}; more with --after {page.next}")


def state_text(job: Job) -> str:
    """Format a state: ``running 15 %``, ``queued #3``."""
    if job.state == "running" and job.percent is not None:
        return f"running {job.percent:.0f} %"
    if job.state == "queued" and job.position:
        return f"queued #{job.position}"
    return job.state


def _row(job: Job) -> tuple[str, ...]:
    took = "" if job.duration_s is None else duration(job.duration_s)
    return job.id, state_text(job), job.model or "", job.kind or "", job.prompt or "", ago(job.created_at), took
