"""``framemill show``: everything about one job, and its picture where the terminal shows pictures."""

from __future__ import annotations

from collections.abc import Iterator

import click

from framemill.cli.commands.jobs.result import links, open_files, save_outputs
from framemill.cli.context.arguments import job_id as job_id_argument
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display import pictures
from framemill.cli.display.output import ago, clock, duration
from framemill.cli.display.terminal import coloured_state
from framemill.records import Job


@click.command()
@job_id_argument()
@click.option("--picture/--no-picture", default=None,
              help="Show the first output in the terminal. Default: if it can show pictures.")  # fmt: skip
@click.option("--open", "opens", is_flag=True, help="Download the outputs to a temporary folder and open them.")
@pass_session
def show(session: Session, job_id: str, picture: bool | None, opens: bool) -> None:
    """Show job ID: its state, its request, what it waits for, and its outputs."""
    job = session.client.get(job_id)
    text = "\n".join(f"{name:10}{value}" for name, value in facts(job))
    text += "".join(f"\n{'output':10}{line}" for line in links(session.client, job).splitlines())
    session.print(job.raw, text)
    if not session.as_json and job.state == "succeeded" and job.outputs:
        pictures.show(session.client, job, wanted=picture)
        if opens:
            open_files(save_outputs(session.client, job, pictures.temporary_folder()))


def facts(job: Job) -> Iterator[tuple[str, str]]:
    """Yield what is known of a job, in the order in which people ask."""
    yield "state", coloured_state(job.state)
    for name in ("model", "kind", "prompt", "seed"):
        value = getattr(job, name)
        if value not in (None, ""):
            yield name, str(value)
    if job.steps:
        resumed = "" if job.resumed_from_step is None else f", resumed after {job.resumed_from_step}"
        yield "step", f"{job.step or 0}/{job.steps}{resumed}"
    for name in ("position", "stage", "slot", "device", "attempt"):
        value = getattr(job, name)
        if value not in (None, ""):
            yield name, str(value)
    if job.batch_size:
        yield "together", f"with {job.batch_size - 1} other job(s)"
    if job.preemptions:
        yield "preempted", "once" if job.preemptions == 1 else f"{job.preemptions} times"
    if job.not_before and job.state == "queued":
        yield "earliest", clock(job.not_before)
    if job.waiting_for and not job.waiting_for.startswith("the time "):
        yield "needs", job.waiting_for
    if job.eta_s is not None and not job.finished:
        yield "left", duration(job.eta_s)
    if job.created_at:
        yield "created", ago(job.created_at)
    if job.duration_s is not None:
        yield "took", duration(job.duration_s)
    if job.error_code:
        yield "error", f"{job.error_message} ({job.error_code})"
    if job.error_cause:
        yield "cause", job.error_cause
    for warning in job.warnings:
        yield "note", warning
