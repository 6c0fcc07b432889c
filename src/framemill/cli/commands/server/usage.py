"""``framemill usage``: what API keys used."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import cast

import click

from framemill.cli.context.options import WordList
from framemill.cli.context.session import Session, pass_session
from framemill.cli.display.output import duration, size
from framemill.cli.display.tables import Column, table
from framemill.responses import UsageRow, Used

#: By what the rows of the table are grouped unless the command says otherwise.
_DEFAULT_GROUPS = ("key", "model")
_DAY = click.DateTime(["%Y-%m-%d"])
_COLUMNS = (
    Column("GPU time", right=True),
    Column("lost", right=True, spare=4),
    Column("jobs", right=True),
    Column("failed", right=True, spare=1),
    Column("cancelled", right=True, spare=5),
    Column("images", right=True),
    Column("videos", right=True, spare=2),
    Column("video time", right=True, spare=3),
    Column("stored", right=True),
)


@click.command()
@click.option("--since", type=_DAY, metavar="DAY", help="First day (UTC), such as 2026-01-31. Default: 30 days in all.")
@click.option("--until", type=_DAY, metavar="DAY", help="Last day. Default: today.")
@click.option(
    "--by",
    type=WordList(("day", "key", "model")),
    metavar="GROUP[,GROUP…]",
    default=_DEFAULT_GROUPS,
    help=f"What a row stands for: day, key, model. Default: {','.join(_DEFAULT_GROUPS)}.",
)
@click.option("--key", metavar="NAME", help="Only this API key. Needs an admin key.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the rows as CSV.")
@pass_session
def usage(
    session: Session, since: datetime | None, until: datetime | None, by: Sequence[str], key: str | None, as_csv: bool
) -> None:  # fmt: skip
    """Show GPU time, jobs and files of your key. An admin key shows those of all keys."""
    days = since and since.date(), until and until.date()
    if as_csv and not session.as_json:
        click.echo(session.client.usage_csv(*days, by=by, key=key).replace("\r\n", "\n"), nl=False)
        return
    used = session.client.usage(*days, by=by, key=key)
    rows = used["rows"]
    cells = [[*_names(by, row), *_cells(row)] for row in rows]
    if len(rows) > 1:
        cells.append(["all", *[""] * (len(by) - 1), *_cells(used["total"])])
    session.print(used, table([*by, *_COLUMNS], cells) if rows else "")
    session.note(f"{used['since']} to {used['until']} (UTC)" + ("" if rows else ": nothing was used"))


def _names(by: Sequence[str], row: UsageRow) -> list[str]:
    return [str(cast("dict[str, str]", row)[group]) for group in by]


def _cells(used: Used) -> list[str]:
    videos = used["videos"]
    return [
        duration(used["gpu_s"]), duration(used["lost_gpu_s"]) if used["lost_gpu_s"] else "", str(used["succeeded"]),
        _counted(used["failed"] + used["expired"]), _counted(used["cancelled"]), _counted(used["images"]),
        _counted(videos), duration(used["video_s"]) if videos else "", size(used["output_bytes"]),
    ]  # fmt: skip


def _counted(number: int) -> str:
    return str(number or "")
