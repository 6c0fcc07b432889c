"""``framemill events``: changes of jobs as lines."""

from __future__ import annotations

import click

from framemill.cli.commands.jobs.watch import PreviewFile
from framemill.cli.context.arguments import job_id as job_id_argument
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import summary
from framemill.errors import JobCancelled, JobFailed


@click.command()
@job_id_argument(required=False)
@click.option("--preview", metavar="FILE", help="Keep the newest preview of the job in this file.")
@pass_session
def events(session: Session, job_id: str | None, preview: str | None) -> None:
    """Print the events of job ID until it finishes. Without ID: of all jobs, until Ctrl-C.

    Ctrl-C ends the output only; jobs continue.
    """
    if preview and not job_id:
        raise click.UsageError("--preview needs the id of a job")
    client = session.client
    preview_file = PreviewFile(client, preview) if preview else None
    found = client.follow(job_id, previews=preview_file is not None) if job_id else client.events()
    for event in found:
        job = event.job
        if preview_file:
            preview_file.update(job)
        if event.name == "preview":
            continue  # a progress event has already reported this step
        session.print(event.raw, summary(job) if job_id else f"{job.id}  {summary(job)}")
        if job_id and job.finished and job.state != "succeeded":
            raise JobCancelled(job) if job.state == "cancelled" else JobFailed(job)
