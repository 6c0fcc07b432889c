"""``framemill submit``: submit a job, or many, and if requested wait for the results."""

from __future__ import annotations

import time
from typing import Any

import click

from framemill.cli.commands.jobs import submit_options as fields_of
from framemill.cli.commands.jobs.batch import Batch
from framemill.cli.commands.jobs.prompts import read_prompts
from framemill.cli.commands.jobs.result import links, open_files, save_outputs
from framemill.cli.commands.jobs.watch import wait
from framemill.cli.context.options import options
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display import pictures
from framemill.cli.display.output import duration, note
from framemill.transport import files

#: What the command does after the submission.
WAIT_OPTIONS = (
    click.option("--prompts", "prompts_file", metavar="FILE", type=click.Path(allow_dash=True),
                 help="Submit a job for each line of FILE (- is standard input)."),
    click.option("--wait", "until_done", is_flag=True, help="Wait for the result. Ctrl-C cancels the job."),
    click.option("-o", "--output", metavar="FILE",
                 help="Wait, and save the result there (- is standard output). Its suffix chooses the format. "
                      "With several prompts: a folder."),
    click.option("--open", "opens", is_flag=True,
                 help="Wait, and open the result with the desktop's program for it."),
    click.option("--picture/--no-picture", default=None,
                 help="Show the result in the terminal. Default: after a wait, if it can show pictures."),
    click.option("--preview", metavar="FILE", help="Wait, and keep the newest preview in this file."),
)  # fmt: skip
#: Fields that only one job can have.
_SINGLE = {"id": "--id", "idempotency_key": "--idempotency-key"}


@click.command(cls=fields_of.SubmitCommand)
@click.argument("words", metavar="[PROMPT]...", nargs=-1)
@options(*fields_of.REQUEST_OPTIONS, *fields_of.IMAGE_OPTIONS, *fields_of.PASS_OPTIONS, *fields_of.OUTPUT_OPTIONS,
         *fields_of.JOB_OPTIONS, *WAIT_OPTIONS)  # fmt: skip
@pass_session
def submit(
    session: Session, /, words: tuple[str, ...], prompts_file: str | None, until_done: bool, output: str | None,
    opens: bool, picture: bool | None, preview: str | None, **given: Any,
) -> None:  # fmt: skip
    """Submit a job and print its id.

    With --wait, -o, --open or --preview, the command waits until the job has finished, and shows its progress.

    Several PROMPTs, or a file with one on each line, make several jobs. PROMPT - reads standard input. A line that
    begins with { is a JSON object with fields of the job.
    """
    prompts = read_prompts(words, given.pop("prompt"), prompts_file)
    files.check_name(output, given["output_format"])
    common = fields_of.job_fields(given)
    waits = bool(until_done or output or opens or picture or preview)
    if len(prompts) > 1:
        wrong = [option for name, option in _SINGLE.items() if name in common]
        wrong += ["--preview"] if preview else []
        if wrong or output == "-":
            raise click.UsageError(f"{wrong[0] if wrong else '-o -'} is for one job, and there are {len(prompts)}")
        batch = Batch(session, [{**common, **prompt} for prompt in prompts])
        batch.run(waits=waits, folder=output or (pictures.temporary_folder() if opens else None), opens=opens)
        return
    fields: Any = {**common, **(prompts[0] if prompts else {})}
    _submit_one(session, fields, preview, output, waits=waits, opens=opens, picture=picture)


def _submit_one(
    session: Session, fields: Any, preview: str | None, output: str | None,
    *, waits: bool, opens: bool, picture: bool | None,
) -> None:  # fmt: skip
    client = session.client
    started = time.monotonic()
    job = client.submit(**files.with_format(fields, output), preview=True if preview else None)
    for warning in job.warnings:
        note(f"note: {warning}")
    if not waits:
        session.print(job.raw, job.id)
        return
    job = wait(client, job.id, preview, f"job {job.id}, seed {job.request.get('seed', 'unknown')}")
    note(f"done in {duration(time.monotonic() - started)}")
    saved = []
    if output or opens:
        saved = save_outputs(client, job, output or pictures.temporary_folder())
    if output != "-":
        session.print(job.raw, "" if saved else links(client, job))
        if not session.as_json:
            pictures.show(client, job, wanted=picture)
    if opens:
        open_files(saved)
