"""``framemill webhooks``: what was sent for a job."""

from __future__ import annotations

import click

from framemill.cli.context.options import EVENTS
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.tables import Column, table

COLUMNS = (Column("event"), Column("state"), Column("tries", right=True), Column("last answer", flexible="wrap"),
           Column("next try", spare=1))  # fmt: skip


@click.command()
@click.argument("words", metavar="[resend] ID", nargs=-1, required=True)
@click.option("--event", type=click.Choice(EVENTS), metavar="EVENT",
              help=f"With resend: send only this event ({', '.join(EVENTS)}). Default: all events.")  # fmt: skip
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
    session.print(log, table(COLUMNS, rows) if rows else "")
    if not rows:
        session.note("this job has no webhooks")
