"""``framemill top``: slots and jobs, refreshed in place until q or Ctrl-C."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from framemill.cli.context.session import Session, pass_session
from framemill.cli.display import terminal
from framemill.client import Client
from framemill.errors import ServerUnavailable

if TYPE_CHECKING:
    from framemill.cli.display.dashboard import Snapshot

#: Most jobs that are requested for one view.
_MOST_JOBS = 100
#: Columns of the view where there is no terminal.
_PIPE_COLUMNS = 160


@click.command()
@click.option("--interval", type=click.FloatRange(0.2), default=1.0, show_default=True, metavar="SECONDS",
              help="Time between two views.")  # fmt: skip
@click.option("--once", is_flag=True, help="Print one view and end. The default where there is no terminal.")
@pass_session
def top(session: Session, interval: float, once: bool) -> None:
    """Show slots, jobs, steps and remaining times, like top. q or Ctrl-C ends it."""
    from framemill.cli.display.dashboard import view

    client = session.client
    snapshot = taken(client)
    if session.as_json:
        session.print(snapshot.raw(), "")
        return
    if once or not terminal.is_terminal(sys.stdout):
        from rich.console import Console

        width = terminal.width() if terminal.is_terminal(sys.stdout) else _PIPE_COLUMNS
        Console(highlight=False, width=width).print(view(snapshot, width, None))
        return
    _watch(client, snapshot, interval)


def taken(client: Client) -> Snapshot:
    """Ask the server for everything that is shown."""
    from framemill.cli.display.dashboard import Snapshot

    pages = [client.list(state, _MOST_JOBS) for state in ("queued", "running", "delivering")]
    fleet, queue = client.fleet(), client.queue()
    if queue["counts"].get("paused"):
        pages.append(client.list("paused", _MOST_JOBS))
    # A job may go on between two requests: its newest state is shown, once, and nothing if it has finished.
    jobs = {job.id: job for page in pages for job in page.jobs}
    unfinished = [job for job in jobs.values() if not job.finished]
    return Snapshot(client.base_url, fleet, queue, unfinished, pages[0].total or 0)


def _watch(client: Client, snapshot: Snapshot, interval_s: float) -> None:
    from rich.console import Console
    from rich.live import Live

    from framemill.cli.display.dashboard import view

    console = Console(highlight=False)
    trouble = ""
    with _single_keys(), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(view(snapshot, console.width, console.height, trouble), refresh=True)
            if _quit_within(interval_s):
                return
            try:
                snapshot, trouble = taken(client), ""
            except ServerUnavailable as exc:
                trouble = str(exc)


@contextmanager
def _single_keys() -> Iterator[None]:
    """Read keys without Enter while the block runs, if a person types them."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before: Any = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)


def _quit_within(seconds: float) -> bool:
    """Wait, and return whether q was pressed. Another key refreshes at once."""
    if not sys.stdin.isatty():
        time.sleep(seconds)
        return False
    readable, _, _ = select.select([sys.stdin], [], [], seconds)
    return bool(readable) and sys.stdin.read(1) in ("q", "Q", "")
