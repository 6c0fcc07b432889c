"""Report an error to the user on one line, and choose the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from framemill.cli.display.output import note

if TYPE_CHECKING:
    from framemill.cli.context.session import Session
    from framemill.errors import ApiError


def report(exc: Exception, session: Session) -> int | None:
    """Print what went wrong and what to do.

    Returns:
        The exit code (see :data:`framemill.cli.app.EXIT_CODES`); None for a defect of this program.
    """
    from framemill import errors

    if not isinstance(exc, errors.ClientError | OSError | ValueError):
        return None
    if isinstance(exc, errors.ApiError):
        note(f"framemill: {_refusal(exc, session)}")
        return 4 if isinstance(exc, errors.ServerUnavailable) else 3
    note(f"framemill: {exc}")
    if isinstance(exc, errors.JobCancelled):
        return 5
    failed = (errors.JobFailed, errors.ChecksFailed, errors.NoMetadata, errors.MissingPackage, OSError)
    return 1 if isinstance(exc, failed) else 2


def usage_line(exc: click.ClickException) -> str:
    """Return one line for a command line that click refuses."""
    message = " ".join(exc.format_message().split())
    context = exc.ctx if isinstance(exc, click.UsageError) else None
    hint = f"; see '{context.command_path} --help'" if context else ""
    return f"framemill: {message.rstrip('.')}{hint}"


def _refusal(exc: ApiError, session: Session) -> str:
    if exc.status is None:
        return f"{exc}; 'framemill doctor' checks it, --url names another server"
    if exc.status == 401:
        if session.api_key:
            return "the server does not accept this API key: it is unknown or was revoked; see 'framemill login --help'"
        return "the server needs an API key: run 'framemill login', or set FRAMEMILL_API_KEY"
    text = f"not allowed with this API key: {exc}" if exc.status == 403 and session.api_key else str(exc)
    rules = [f"{problem.get('field')}: {problem.get('rule')}" for problem in exc.fields]
    missing = [rule for rule in rules if rule not in text]
    if missing:
        text = f"{text} ({'; '.join(missing)})"
    return text if exc.retry_after_s is None else f"{text}; try again in {exc.retry_after_s:g} s"
