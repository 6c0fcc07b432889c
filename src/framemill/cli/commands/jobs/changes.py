"""Commands that change jobs: stop, retry, delete."""

from __future__ import annotations

import click

from framemill.cli.commands.jobs.watch import cancellation_text
from framemill.cli.context.arguments import job_ids
from framemill.cli.context.session import Session, pass_session


@click.command()
@job_ids()
@click.option("--all", "every", is_flag=True, help="Cancel all your running jobs.")
@click.option("--waiting", is_flag=True, help="With --all: also the waiting ones.")
@pass_session
def stop(session: Session, ids: tuple[str, ...], every: bool, waiting: bool) -> None:
    """Cancel each job ID. A running job ends within one step; its model stays loaded."""
    if bool(ids) == every:
        raise click.UsageError("give the ids of jobs, or --all")
    if every:
        cancelled = session.client.cancel_all(waiting=waiting)
        session.print({"cancelled": list(cancelled)}, "\n".join(cancelled))
        session.note(f"{len(cancelled)} job{'' if len(cancelled) == 1 else 's'} cancelled")
    for job_id in ids:
        cancellation = session.client.cancel(job_id)
        session.print(vars(cancellation), cancellation_text(cancellation))


@click.command()
@job_ids(required=True)
@pass_session
def retry(session: Session, ids: tuple[str, ...]) -> None:
    """Submit each job ID, which failed, was cancelled or expired, again. Prints the ids of the new jobs."""
    for job_id in ids:
        job = session.client.retry(job_id)
        session.print(job.raw, job.id)


@click.command()
@job_ids(required=True)
@pass_session
def delete(session: Session, ids: tuple[str, ...]) -> None:
    """Delete each job ID and its files. Unfinished jobs are cancelled first."""
    for job_id in ids:
        deletion = session.client.delete(job_id)
        text = "was deleted" if deletion.changed else "had already been deleted"
        text = text if deletion.deleted else "was stopped; the server deletes it when its worker has stopped"
        session.print(vars(deletion), f"job {job_id} {text}")
