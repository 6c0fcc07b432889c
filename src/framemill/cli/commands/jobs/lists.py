"""``framemill list``: jobs in a table."""

from __future__ import annotations

from typing import Any

import click

from framemill.cli.context.arguments import complete_model
from framemill.cli.context.options import MOMENT, STATES, WordList
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import ago, duration
from framemill.cli.display.tables import Column, table
from framemill.records import Job

COLUMNS = (
    Column("id"),
    Column("state", is_state=True),
    Column("model", spare=3),
    Column("kind", spare=4),
    Column("prompt", flexible="cut", spare=1),
    Column("created", spare=2),
    Column("took", spare=5),
)


#: Number of jobs unless the command says otherwise, and most jobs of one request to the server.
DEFAULT_LIMIT, MAX_PAGE = 50, 500


@click.command()
@click.option("--state", "states", type=WordList(STATES), multiple=True, metavar="STATE[,STATE…]",
              help=f"Only jobs in one of these states: {', '.join(STATES)}. May be repeated.")
@click.option("--model", metavar="NAME", shell_complete=complete_model, help="Only jobs of this model.")
@click.option("--text", metavar="WORDS",
              help="Only jobs with all of these words in the prompt or the error, or at the beginning of the id.")
@click.option("--since", type=MOMENT, metavar="TIME",
              help="Only jobs created since: an age (30m, 2h, 3d, 1w), or a date or time.")
@click.option("--until", type=MOMENT, metavar="TIME", help="Only jobs created before.")
@click.option("--key", metavar="NAME", help="Only jobs of this API key. Needs an admin key.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", default=DEFAULT_LIMIT,
              help=f"Number of jobs. Default: {DEFAULT_LIMIT}.")
@click.option("--after", metavar="PLACE", help="Go on where an earlier list ended.")
@pass_session
def list_jobs(
    session: Session, /, states: tuple[tuple[str, ...], ...], limit: int, after: str | None, **filters: Any
) -> None:
    """List jobs, newest first."""
    chosen = [state for part in states for state in part]
    jobs: list[Job] = []
    while True:
        page = session.client.list(chosen, min(MAX_PAGE, limit - len(jobs)), after, **filters)
        jobs += page.jobs
        after = page.next
        if after is None or len(jobs) >= limit:
            break
    raw = {"jobs": [job.raw for job in jobs], "total": page.total, "next": after}
    session.print(raw, table(COLUMNS, map(_row, jobs)) if jobs else "")
    if not jobs and any(filters.values()):
        session.note("no job matches")
    elif not jobs:
        nothing = "there are no jobs; 'framemill submit' makes one"
        session.note(f"no job is {' or '.join(chosen)}" if chosen else nothing)
    if after:
        count = f"{len(jobs)} jobs" if page.total is None else f"{len(jobs)} of {page.total}"
        session.note(f"{count}; more with --after {after}")


def state_text(job: Job) -> str:
    """Format a state: ``running 15 %``, ``paused 15 %``, ``queued #3``."""
    if (job.state == "running" and job.percent is not None) or (job.state == "paused" and job.percent):
        return f"{job.state} {job.percent:.0f} %"
    if job.state == "queued" and job.position:
        return f"queued #{job.position}"
    return job.state


def _row(job: Job) -> tuple[str, ...]:
    took = "" if job.duration_s is None else duration(job.duration_s)
    return job.id, state_text(job), job.model or "", job.kind or "", job.prompt or "", ago(job.created_at), took
