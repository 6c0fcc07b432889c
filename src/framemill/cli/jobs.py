"""Commands for jobs: status, result, cancel, delete, retry, webhooks, follow, list."""

from __future__ import annotations

import sys

import click

from framemill.cli.options import EVENTS
from framemill.cli.output import duration, note, percent, summary, table
from framemill.cli.session import Session, pass_session
from framemill.cli.watch import PreviewFile, cancellation_text
from framemill.client import Client
from framemill.errors import JobCancelled, JobFailed
from framemill.records import Job, Output
from framemill.transport.files import check_output, extension_of, targets

job_id_argument = click.argument("job_id", metavar="ID")


@click.command(short_help="Show the state of a job.")
@job_id_argument
@pass_session
def status(session: Session, job_id: str) -> None:
    """Show the state of job ID."""
    job = session.client.get(job_id)
    lines = [f"{'state':10}{job.state}"]
    for name in ("model", "kind", "prompt", "seed"):
        value = getattr(job, name)
        if value not in (None, ""):
            lines.append(f"{name:10}{value}")
    if job.steps:
        lines.append(f"{'step':10}{job.step or 0}/{job.steps}")
    for name in ("position", "stage", "slot", "device", "attempt"):
        value = getattr(job, name)
        if value not in (None, ""):
            lines.append(f"{name:10}{value}")
    if job.waiting_for:
        lines.append(f"{'needs':10}{job.waiting_for}")
    if job.eta_s is not None and not job.finished:
        lines.append(f"{'left':10}{duration(job.eta_s)}")
    if job.duration_s is not None:
        lines.append(f"{'took':10}{duration(job.duration_s)}")
    if job.error_code:
        lines.append(f"{'error':10}{job.error_message} ({job.error_code})")
    if job.error_cause:
        lines.append(f"{'cause':10}{job.error_cause}")
    lines += [f"{'note':10}{warning}" for warning in job.warnings]
    lines += [f"{'output':10}{line}" for line in links(session.client, job).splitlines()]
    session.print(job.raw, "\n".join(lines))


@click.command(short_help="Download the outputs of a job.")
@job_id_argument
@click.option("-o", "--output", metavar="FILE",
              help="Target file (- is standard output). Default: the id with a suitable extension.")  # fmt: skip
@pass_session
def result(session: Session, job_id: str, output: str | None) -> None:
    """Download the outputs of job ID."""
    job = session.client.get(job_id)
    # Outputs are requested even if the job has none: the server's error says why.
    outputs = job.outputs or (Output(index=0, url="", media_type="application/octet-stream"),)
    media_type = outputs[0].media_type
    name = output or job_id.replace("/", "_") + extension_of(media_type)
    save_outputs(session.client, job, name)
    if name != "-":
        session.print(job.raw, "")


@click.command(short_help="Cancel a job.")
@job_id_argument
@pass_session
def cancel(session: Session, job_id: str) -> None:
    """Cancel job ID."""
    cancellation = session.client.cancel(job_id)
    session.print(vars(cancellation), cancellation_text(cancellation))


@click.command(short_help="Delete jobs and their files; cancel unfinished ones first.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@pass_session
def delete(session: Session, ids: tuple[str, ...]) -> None:
    """Delete each job ID and its files. Unfinished jobs are cancelled first."""
    for job_id in ids:
        deletion = session.client.delete(job_id)
        text = "was deleted" if deletion.changed else "had already been deleted"
        text = text if deletion.deleted else "was stopped; the server deletes it when its worker has stopped"
        session.print(vars(deletion), f"job {job_id} {text}")


@click.command(short_help="Submit a failed, cancelled or expired job again.")
@job_id_argument
@pass_session
def retry(session: Session, job_id: str) -> None:
    """Submit job ID, which failed, was cancelled or expired, again. Prints the id of the new job."""
    job = session.client.retry(job_id)
    session.print(job.raw, job.id)


@click.command(short_help="Show the webhooks of a job, or send them again.")
@click.argument("words", metavar="[resend] ID", nargs=-1, required=True)
@click.option("--event", type=click.Choice(EVENTS), help="With resend: send only this event. Default: all events.")
@pass_session
def webhooks(session: Session, words: tuple[str, ...], event: str | None) -> None:
    """Show the webhooks that were sent for job ID, or send them again."""
    *resend, job_id = words
    if resend not in ([], ["resend"]):
        raise click.UsageError("use 'webhooks ID' or 'webhooks resend ID'")
    log = session.client.resend_webhooks(job_id, event) if resend else session.client.webhooks(job_id)
    rows = []
    for delivery in log["deliveries"]:
        last = (delivery["tries"] or [{}])[-1]
        outcome = str(last.get("status") or last.get("error") or "")
        rows.append((delivery["event"], delivery["state"], str(len(delivery["tries"])), outcome,
                     delivery["next_try_at"] or ""))  # fmt: skip
    session.print(log, table(("event", "state", "tries", "last answer", "next try"), rows) if rows else "")
    if not rows and not session.as_json:
        note("this job has no webhooks")


@click.command(short_help="Print the events of a job, or of all jobs.")
@click.argument("job_id", metavar="[ID]", required=False)
@click.option("--preview", metavar="FILE", help="Keep the newest preview of the job in this file.")
@pass_session
def follow(session: Session, job_id: str | None, preview: str | None) -> None:
    """Print the events of job ID until it finishes. Without ID: of all jobs, until Ctrl-C.

    Ctrl-C ends the output only; jobs continue.
    """
    if preview and not job_id:
        raise click.UsageError("--preview needs the id of a job")
    client = session.client
    preview_file = PreviewFile(client, preview) if preview else None
    events = client.follow(job_id, previews=preview_file is not None) if job_id else client.events()
    for event in events:
        job = event.job
        if preview_file:
            preview_file.update(job)
        if event.name == "preview":
            continue  # a progress event has already reported this step
        session.print(event.raw, summary(job) if job_id else f"{job.id}  {summary(job)}")
        if job_id and job.finished and job.state != "succeeded":
            raise JobCancelled(job) if job.state == "cancelled" else JobFailed(job)


@click.command(name="list", short_help="List jobs.")
@click.option("--state", metavar="STATE", help="Only jobs in this state.")
@click.option("--limit", type=int, metavar="N", help="Number of jobs. Default: 50.")
@click.option("--after", metavar="ID", help="Continue after this job.")
@pass_session
def list_jobs(session: Session, state: str | None, limit: int | None, after: str | None) -> None:
    """List jobs, newest first."""
    page = session.client.list(state, limit, after)
    rows = [(job.id, job.state, percent(job), str(job.raw.get("created_at") or "")) for job in page.jobs]
    text = table(("id", "state", "done", "created"), rows)
    session.print({"jobs": [job.raw for job in page.jobs], "total": page.total, "next": page.next}, text)
    if page.next and not session.as_json:
        note(f"{len(page.jobs)} of {page.total}; more with --after {page.next}")


def save_outputs(client: Client, job: Job, name: str) -> None:
    """Download all outputs of a job to ``name``, ``name-1``, …; for ``-``, write the first one to standard output."""
    if name == "-":
        sys.stdout.buffer.write(client.result(job.id, index=job.outputs[0].index if job.outputs else 0))
        return
    check_output(name, job)
    for index, path in targets(job, name):
        client.result(job.id, path, index)
        note(f"saved {path}")


def links(client: Client, job: Job) -> str:
    """Return the absolute links of a job's outputs, one per line."""
    urls = (output.url for output in job.outputs if output.url)
    return "\n".join(url if "://" in url else client.base_url + url for url in urls)
