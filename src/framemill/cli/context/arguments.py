"""Arguments that name jobs and models, and how a shell completes them: it asks the server, briefly."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from framemill.cli.context.options import Decorator
from framemill.cli.context.session import Session

if TYPE_CHECKING:
    from framemill.client import Client

#: A shell waits for the server at most this long, in seconds.
_PATIENCE_S = 1.0
_MOST_IDS = 50


def _asked(context: click.Context, ask: Callable[[Client], list[CompletionItem]]) -> list[CompletionItem]:
    from framemill.client import Client

    session = context.find_root().ensure_object(Session)
    try:
        with Client(session.url, session.api_key, _PATIENCE_S) as client:
            return ask(client)
    except Exception:  # a shell shows nothing useful of it
        return []


def _ids(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    def ask(client: Client) -> list[CompletionItem]:
        jobs = client.list(limit=_MOST_IDS).jobs
        return [
            CompletionItem(job.id, help=f"{job.state} {job.prompt or ''}"[:60].strip())
            for job in jobs if job.id.startswith(incomplete)
        ]  # fmt: skip

    return _asked(context, ask)


def complete_model(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the names of models that begin with ``incomplete``."""

    def ask(client: Client) -> list[CompletionItem]:
        return [
            CompletionItem(model["name"], help=model.get("description", "")[:60])
            for model in client.models() if model["name"].startswith(incomplete)
        ]  # fmt: skip

    return _asked(context, ask)


def job_id(*, required: bool = True) -> Decorator:
    """Argument ``ID``: one job."""
    metavar = "ID" if required else "[ID]"
    return click.argument("job_id", metavar=metavar, required=required, shell_complete=_ids)


def job_ids(*, required: bool = False) -> Decorator:
    """Argument ``ID...``: jobs."""
    metavar = "ID..." if required else "[ID...]"
    options: dict[str, Any] = {"nargs": -1, "required": required, "metavar": metavar, "shell_complete": _ids}
    return click.argument("ids", **options)
