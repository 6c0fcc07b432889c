"""The ``framemill`` command: send jobs to a server, watch them and fetch their results.

Results (ids, tables, JSON) go to standard output, everything else to standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from framemill import commands
from framemill.client import Client
from framemill.errors import ApiError, FramemillError, JobCancelled, JobFailed, ServerUnavailable

EXIT_CODES = """\
exit codes:
  0    done
  1    the job failed or expired, or a file could not be read or written
  2    wrong arguments
  3    the server refused the request
  4    the server cannot be reached or is not ready
  5    the job was cancelled by someone else
  130  stopped with Ctrl-C
"""

KINDS = ("text2img", "img2img", "text2video", "img2video")


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(
        prog="framemill",
        description="Send jobs to a Framemill server.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "--url",
        default=os.environ.get("FRAMEMILL_URL") or "http://127.0.0.1:8000",
        help="the server's address (FRAMEMILL_URL; now %(default)s)",
    )
    top.add_argument("--api-key", default=os.environ.get("FRAMEMILL_API_KEY"), help="API key (FRAMEMILL_API_KEY)")
    top.add_argument("--timeout", type=float, default=30, metavar="S", help="wait for an answer, seconds (%(default)s)")
    top.add_argument("--json", action="store_true", help="print the server's answer as JSON")
    actions = top.add_subparsers(dest="action", required=True, metavar="COMMAND")

    submit = actions.add_parser("submit", help="send a job")
    submit.add_argument("--model", help="default: the first model of the kind")
    submit.add_argument("--kind", choices=KINDS)
    submit.add_argument("--prompt")
    submit.add_argument("--negative-prompt")
    submit.add_argument("--seed", type=int)
    submit.add_argument("--steps", type=int)
    submit.add_argument("--guidance-scale", type=float)
    submit.add_argument("--width", type=int, help="pixels")
    submit.add_argument("--height", type=int, help="pixels")
    submit.add_argument("--frames", type=int)
    submit.add_argument("--fps", type=float, help="frames per second")
    submit.add_argument("--image", metavar="FILE", help="input image: a file or an http(s) link")
    submit.add_argument("--strength", type=float, help="how far the input image is changed, 0 to 1")
    submit.add_argument("--wait", action="store_true", help="wait for the result; Ctrl-C cancels the job")
    submit.add_argument("-o", "--output", metavar="FILE", help="store the result there (- is standard output); waits")
    submit.set_defaults(run=commands.submit)

    status = actions.add_parser("status", help="show where a job is")
    status.add_argument("id")
    status.set_defaults(run=commands.status)

    result = actions.add_parser("result", help="fetch a job's result")
    result.add_argument("id")
    result.add_argument("-o", "--output", metavar="FILE", help="default: the id with a fitting ending; - is stdout")
    result.set_defaults(run=commands.result)

    cancel = actions.add_parser("cancel", help="stop a job")
    cancel.add_argument("id")
    cancel.set_defaults(run=commands.cancel)

    jobs = actions.add_parser("list", help="list jobs")
    jobs.add_argument("--state")
    jobs.add_argument("--limit", type=int)
    jobs.add_argument("--after", help="continue after this job")
    jobs.set_defaults(run=commands.list_jobs)

    actions.add_parser("models", help="list the models").set_defaults(run=commands.models)
    actions.add_parser("service", help="show the server's state").set_defaults(run=commands.service)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code (see :data:`EXIT_CODES`)."""
    arguments = parser().parse_args(argv)
    try:
        with Client(arguments.url, arguments.api_key, arguments.timeout) as client:
            arguments.run(client, arguments)
        sys.stdout.flush()
    except (FramemillError, OSError, ValueError, KeyboardInterrupt) as exc:
        if isinstance(exc, BrokenPipeError):
            # The reader (head, less) has seen enough; keep Python from complaining at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        return _report(exc)
    return 0


def _report(exc: BaseException) -> int:
    """Say what went wrong; returns the exit code."""
    if isinstance(exc, KeyboardInterrupt):
        return 130
    print(f"framemill: {exc}", file=sys.stderr)
    if isinstance(exc, ApiError):
        for problem in exc.fields:
            print(f"  {problem.get('field')}: {problem.get('rule')}", file=sys.stderr)
        if exc.retry_after_s is not None:
            print(f"  try again in {exc.retry_after_s:g} s", file=sys.stderr)
        return 4 if isinstance(exc, ServerUnavailable) else 3
    if isinstance(exc, JobCancelled):
        return 5
    if isinstance(exc, JobFailed | OSError):
        return 1
    return 2
