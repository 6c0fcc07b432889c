"""The ``framemill`` command: send jobs to a server, watch them, fetch their results; operate the server.

Results (ids, tables, JSON) go to standard output, everything else to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from framemill import checkout
from framemill.arguments import parser
from framemill.client import Client
from framemill.errors import ApiError, FramemillError, JobCancelled, JobFailed, NoMetadata, ServerUnavailable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code (see :data:`framemill.arguments.EXIT_CODES`)."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["up"]:
        return checkout.up(words[1:])
    arguments = parser().parse_args(words)
    try:
        with Client(arguments.url, arguments.api_key, arguments.timeout) as client:
            arguments.run(client, arguments)
        sys.stdout.flush()
    except (FramemillError, OSError, ValueError, KeyboardInterrupt) as exc:
        if isinstance(exc, BrokenPipeError):
            # The reader (head, less) has seen enough; keep Python from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _report(exc, has_key=bool(arguments.api_key))
    return 0


def _report(exc: BaseException, *, has_key: bool) -> int:
    """Say what went wrong; returns the exit code."""
    if isinstance(exc, KeyboardInterrupt):
        return 130
    print(f"framemill: {_message(exc, has_key)}", file=sys.stderr)
    if isinstance(exc, ApiError):
        for problem in exc.fields:
            print(f"  {problem.get('field')}: {problem.get('rule')}", file=sys.stderr)
        if exc.retry_after_s is not None:
            print(f"  try again in {exc.retry_after_s:g} s", file=sys.stderr)
        return 4 if isinstance(exc, ServerUnavailable) else 3
    if isinstance(exc, JobCancelled):
        return 5
    if isinstance(exc, JobFailed | NoMetadata | OSError):
        return 1
    return 2


def _message(exc: BaseException, has_key: bool) -> str:
    if isinstance(exc, ApiError) and exc.status == 401:
        if has_key:
            return "the server does not accept this API key: it is unknown or was revoked"
        return "the server needs an API key: set FRAMEMILL_API_KEY or give --api-key"
    if isinstance(exc, ApiError) and exc.status == 403:
        return f"not allowed with this API key: {exc}"
    return str(exc)
