"""Report an error to the user, and choose the exit code."""

from __future__ import annotations

from framemill.cli.output import note
from framemill.errors import (
    ApiError,
    ChecksFailed,
    JobCancelled,
    JobFailed,
    MissingPackage,
    NoMetadata,
    ServerUnavailable,
)


def report(exc: Exception, *, has_key: bool) -> int:
    """Print what went wrong, and return the exit code (see :data:`framemill.cli.app.EXIT_CODES`)."""
    note(f"framemill: {_message(exc, has_key)}")
    if isinstance(exc, ApiError):
        for problem in exc.fields:
            note(f"  {problem.get('field')}: {problem.get('rule')}")
        if exc.retry_after_s is not None:
            note(f"  try again in {exc.retry_after_s:g} s")
        return 4 if isinstance(exc, ServerUnavailable) else 3
    if isinstance(exc, JobCancelled):
        return 5
    if isinstance(exc, JobFailed | ChecksFailed | NoMetadata | MissingPackage | OSError):
        return 1
    return 2


def _message(exc: Exception, has_key: bool) -> str:
    if isinstance(exc, ApiError) and exc.status == 401:
        if has_key:
            return "the server does not accept this API key: it is unknown or was revoked"
        return "the server needs an API key: set FRAMEMILL_API_KEY or give --api-key"
    if isinstance(exc, ApiError) and exc.status == 403 and has_key:
        return f"not allowed with this API key: {exc}"
    return str(exc)
