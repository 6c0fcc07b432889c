"""``framemill watch``, and how commands wait for jobs: with a progress bar, and with a file for the newest preview."""

from __future__ import annotations

from pathlib import Path

import click

from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import note
from framemill.client import Client
from framemill.errors import ClientError, JobCancelled, JobFailed
from framemill.records import FINAL_STATES, Cancellation, Job
from framemill.transport import wire


class PreviewFile:
    """Keeps the newest preview of a job in ``path``, for image viewers that reload changed files.

    Each preview replaces the previous file atomically.

    Raises (from :meth:`update`):
        OSError: the file cannot be written.
    """

    def __init__(self, client: Client, path: str) -> None:
        self._client = client
        self._path = Path(path)
        self._step: int | None = None

    def update(self, job: Job) -> None:
        """Download the newest preview of ``job``, unless the file already holds it."""
        if job.preview_step in (None, self._step):
            return
        preview = self._client.preview(job.id)
        if preview is None:  # the run has finished meanwhile
            return
        part = wire.part_file(self._path)
        try:
            part.write_bytes(preview.content)
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)
        self._step = job.preview_step


def wait(client: Client, job_id: str, preview: str | None = None, first_line: str = "") -> Job:
    """Wait for a job with a progress bar. Ctrl-C cancels the job.

    Args:
        client: the client.
        job_id: the job.
        preview: file for the newest preview, or None.
        first_line: printed before the bar. Whoever has read it can rely on Ctrl-C.
    """
    try:
        if first_line:
            note(first_line)
        return watched(client, job_id, preview)
    except KeyboardInterrupt:
        cancel_all(client, [job_id])
        raise


def watched(client: Client, job_id: str, preview: str | None = None, label: str = "") -> Job:
    """Wait for a job with a progress bar. Ctrl-C ends the wait only."""
    from framemill.cli.display.progress import ProgressBar  # commands that do not wait start faster without rich

    preview_file = PreviewFile(client, preview) if preview else None
    with ProgressBar(label) as bar:

        def on_update(job: Job) -> None:
            bar.update(job)
            if preview_file:
                preview_file.update(job)

        return client.wait(job_id, on_update=on_update)


def cancel_all(client: Client, job_ids: list[str]) -> None:
    """Cancel jobs, and say what became of each."""
    for job_id in job_ids:
        try:
            note(cancellation_text(client.cancel(job_id)))
        except ClientError as exc:
            note(f"job {job_id} could not be cancelled: {exc}")


def cancellation_text(cancellation: Cancellation) -> str:
    """Format the result of a cancellation."""
    if not cancellation.cancelled:
        return f"job {cancellation.id} had already finished: {cancellation.state}"
    if cancellation.state in FINAL_STATES:
        return f"job {cancellation.id} was {cancellation.state} on the server"
    # The worker first completes its current step.
    return f"job {cancellation.id} is being cancelled by the server"


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--preview", metavar="FILE", help="Keep the newest preview in this file (one job only).")
@pass_session
def watch(session: Session, ids: tuple[str, ...], preview: str | None) -> None:
    """Watch each job ID with a progress bar until it has finished. Ctrl-C ends the command only; jobs continue."""
    if preview and len(ids) > 1:
        raise click.UsageError("--preview needs one job")
    failure: ClientError | None = None
    for job_id in ids:
        try:
            job = watched(session.client, job_id, preview, job_id if len(ids) > 1 else "")
            session.print(job.raw, "")
        except (JobFailed, JobCancelled) as exc:
            if len(ids) == 1:
                raise
            session.print(exc.job.raw, "")
            if failure:
                note(f"framemill: {failure}")
            failure = exc
    if failure:
        raise failure
