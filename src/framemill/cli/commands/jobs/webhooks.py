"""``framemill webhooks``: what was sent for a job."""

from __future__ import annotations

from datetime import datetime

import click

from framemill.cli.context.options import EVENTS
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import ago
from framemill.cli.display.tables import Column, table

NEWEST_COLUMNS = ("job", "event", "receiver", Column("state", is_state=True), Column("tries", right=True, spare=3),
                  Column("last answer", flexible="wrap"), Column("tried", spare=1), Column("key", spare=2))  # fmt: skip
COLUMNS = (Column("event"), Column("state"), Column("tries", right=True), Column("last answer", flexible="wrap"),
           Column("next try", spare=1))  # fmt: skip


@click.command()
@click.argument("words", metavar="[[resend] ID]", nargs=-1)
@click.option("--event", type=click.Choice(EVENTS), metavar="EVENT",
              help=f"With resend: send only this event ({', '.join(EVENTS)}). Default: all events.")
@click.option("--failed", is_flag=True, help="Without ID: only those that were given up.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, metavar="N",
              help="Without ID: number of deliveries. Default: 50.")  # fmt: skip
@pass_session
def webhooks(session: Session, words: tuple[str, ...], event: str | None, failed: bool, limit: int) -> None:
    """Show the webhooks that were sent for job ID, or send them again. Without ID: the newest of all jobs (admin)."""
    if not words:
        _newest(session, limit, failed=failed)
        return
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


def _newest(session: Session, limit: int, *, failed: bool) -> None:
    deliveries = session.client.newest_webhooks(limit, failed=failed)
    rows = [
        (one["job_id"], one["event"], one["receiver"], one["state"], str(one["attempts"]),
         str(one["error"] or one["status"] or ""),
         ago(datetime.fromisoformat(one["tried_at"])) if one["tried_at"] else "", one["key"])
        for one in deliveries
    ]  # fmt: skip
    session.print({"deliveries": list(deliveries)}, table(NEWEST_COLUMNS, rows) if rows else "")
    if not rows:
        session.note("none was given up" if failed else "none was sent")
    elif failed:
        session.note("'framemill webhooks resend ID' sends them again")
