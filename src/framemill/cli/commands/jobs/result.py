"""``framemill result``, and how commands save outputs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from framemill.cli.context.arguments import job_id as job_id_argument
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import note
from framemill.client import Client
from framemill.records import Job, Output
from framemill.transport.files import check_output, extension_of, targets
from framemill.transport.wire import address_of


@click.command()
@job_id_argument()
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    help="Target file or folder (- is standard output). Default: the id with a suitable extension.",
)
@click.option("--open", "opens", is_flag=True, help="Open the file with the desktop's program for it.")
@pass_session
def result(session: Session, job_id: str, output: str | None, opens: bool) -> None:
    """Download the outputs of job ID."""
    if opens and output == "-":
        raise click.UsageError("--open needs a file, not standard output")
    job = session.client.get(job_id)
    # Outputs are requested even if the job has none: the server's error says why.
    outputs = job.outputs or (Output(index=0, url="", media_type="application/octet-stream"),)
    name = output or job_id.replace("/", "_") + extension_of(outputs[0].media_type)
    saved = save_outputs(session.client, job, name)
    if opens:
        open_files(saved)
    if name != "-":
        session.print(job.raw, "")


def save_outputs(client: Client, job: Job, name: str) -> list[Path]:
    """Download all outputs of a job to ``name``, ``name-1``, …; for ``-``, write the first one to standard output."""
    if name == "-":
        sys.stdout.buffer.write(client.result(job.id, index=job.outputs[0].index if job.outputs else 0))
        return []
    check_output(name, job)
    saved = []
    for index, path in targets(job, name):
        saved.append(client.result(job.id, path, index))
        note(f"saved {path}")
    return saved


def open_files(paths: list[Path]) -> None:
    """Open files with the programs of the desktop; say so where there is none."""
    for path in paths:
        try:
            failed = click.launch(str(path)) != 0
        except OSError:
            failed = True
        if failed:
            note(f"there is no program here that opens {path}")


def links(client: Client, job: Job) -> str:
    """Return the absolute links of a job's outputs, one per line."""
    urls = (output.url for output in job.outputs if output.url)
    return "\n".join(address_of(client.base_url, url) for url in urls)
