"""Entry point of the ``framemill`` command: global options, subcommands and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from framemill.cli import administration, checkout, failures, inspect, jobs, keys, models, service
from framemill.cli.session import Session
from framemill.cli.submit import submit
from framemill.errors import ClientError

EXIT_CODES = """\b
exit codes:
  0    success
  1    the job failed or expired, a file could not be read or written, or
       holds no record of how it was made
  2    invalid arguments
  3    the server refused the request
  4    the server cannot be reached, or is not ready
  5    the job was cancelled by someone else
  130  stopped with Ctrl-C
"""


class FramemillCommand(click.Group):
    """Lists the subcommands in the order of their definition, and converts exceptions to exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> int:
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader (head, less) has seen enough. Without this, Python reports another error at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            return 130
        except (ClientError, OSError, ValueError) as exc:
            return failures.report(exc, has_key=bool(ctx.params["api_key"]))
        return 0


@click.group(
    cls=FramemillCommand,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.option(
    "--url",
    default="http://127.0.0.1:8000",
    envvar="FRAMEMILL_URL",
    show_default=True,
    show_envvar=True,
    help="Address of the server.",
)
@click.option("--api-key", metavar="KEY", envvar="FRAMEMILL_API_KEY", show_envvar=True, help="API key.")
@click.option(
    "--timeout",
    type=float,
    default=30,
    show_default=True,
    metavar="SECONDS",
    help="Maximum time to wait for a response.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the server's response as JSON.")
@click.version_option(package_name="framemill", message="%(prog)s %(version)s")
@click.pass_context
def framemill(context: click.Context, url: str, api_key: str | None, timeout: float, as_json: bool) -> None:
    """Submit jobs to a Framemill server, and administer it."""
    context.obj = Session(context, url, api_key, timeout, as_json)


for _command in (
    checkout.up,
    submit,
    jobs.status,
    jobs.result,
    jobs.cancel,
    jobs.delete,
    jobs.retry,
    jobs.webhooks,
    jobs.follow,
    jobs.list_jobs,
    inspect.inspect,
    models.models,
    service.service,
    service.queue,
    service.fleet,
    administration.front,
    administration.pause,
    administration.resume,
    administration.dead,
    keys.keys,
):
    framemill.add_command(_command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see :data:`EXIT_CODES`)."""
    try:
        code = framemill.main(argv, prog_name="framemill", standalone_mode=False)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.Abort:
        return 130
    return int(code or 0)
