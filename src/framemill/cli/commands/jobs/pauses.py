"""``framemill pause`` and ``framemill resume``: of jobs, and for operators of slots and of the whole queue."""

from __future__ import annotations

from collections.abc import Sequence

import click

from framemill.cli.context.arguments import job_ids
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import paused_text, summary
from framemill.records import Job


@click.command()
@job_ids()
@click.option(
    "--slot",
    "slots",
    metavar="NAME",
    multiple=True,
    help="Start no more jobs on this slot; a running one continues (admin). May be repeated.",
)
@click.option("--queue", is_flag=True, help="Start no more jobs on any slot (admin).")
@pass_session
def pause(session: Session, ids: tuple[str, ...], slots: tuple[str, ...], queue: bool) -> None:
    """Set each job ID aside until 'framemill resume ID'. It holds no slot meanwhile.

    Operators pause slots or the whole queue instead.
    """
    _check_one_of("the ids of jobs, --slot or --queue", ids, slots, queue)
    for job_id in ids:
        _print_job(session, session.client.pause(job_id))
    for slot in _named(slots, queue):
        _print_slots(session, session.client.pause_slots(slot))


@click.command()
@job_ids()
@click.option(
    "--slot", "slots", metavar="NAME", multiple=True, help="End the pause of this slot (admin). May be repeated."
)
@click.option("--queue", is_flag=True, help="End the pause of the whole queue (admin).")
@click.option("--all", "everything", is_flag=True, help="End the pauses of the queue and of all slots (admin).")
@pass_session
def resume(session: Session, ids: tuple[str, ...], slots: tuple[str, ...], queue: bool, everything: bool) -> None:
    """Let each paused job ID wait again, at its old place in the queue.

    Operators end the pauses of slots or of the whole queue instead.
    """
    _check_one_of("the ids of jobs, --slot, --queue or --all", ids, slots, queue, everything)
    for job_id in ids:
        _print_job(session, session.client.resume(job_id))
    for slot in _named(slots, queue):
        _print_slots(session, session.client.resume_slots(slot))
    if everything:
        paused = session.client.resume_slots()
        for name in paused:
            paused = session.client.resume_slots(name)
        _print_slots(session, paused)


def _check_one_of(what: str, *given: object) -> None:
    if sum(map(bool, given)) != 1:
        raise click.UsageError(f"give {what}")


def _named(slots: Sequence[str], queue: bool) -> Sequence[str | None]:
    """Return the slots to pause or to resume; None stands for the whole queue."""
    return [None] if queue else slots


def _print_job(session: Session, job: Job) -> None:
    session.print(job.raw, f"{job.id}: {summary(job)}")


def _print_slots(session: Session, paused: Sequence[str]) -> None:
    session.print({"paused": list(paused)}, f"paused: {paused_text(paused) or 'nothing'}")
