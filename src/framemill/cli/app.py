"""Entry point of the ``framemill`` command: global options, subcommands and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import click

from framemill.cli.context import failures, global_options
from framemill.cli.context.session import Session

EXIT_CODES = """\b
Exit codes:
  0    success
  1    the job failed or expired, a check failed, or a file could not be
       read or written
  2    invalid arguments
  3    the server refused the request
  4    the server cannot be reached, or is not ready
  5    the job was cancelled by someone else
  130  stopped with Ctrl-C
"""

DOCUMENTATION = """\b
Set FRAMEMILL_URL and FRAMEMILL_API_KEY, or run 'framemill login' once.
docs/command-line.md has examples, shell completion and pictures in terminals.
"""


class Row(NamedTuple):
    """A subcommand in the list of commands."""

    #: Module below ``framemill.cli.commands``, and the name of the command in it.
    module: str
    attribute: str
    help: str


#: The subcommands in the order of ``--help``. Their modules are imported when they are needed.
SECTIONS = {
    "Jobs": {
        "submit": Row("jobs.submit", "submit", "Submit a job, or many; wait for results and show them."),
        "watch": Row("jobs.watch", "watch", "Watch jobs with a progress bar until they finish."),
        "list": Row("jobs.lists", "list_jobs", "List jobs, newest first."),
        "show": Row("jobs.show", "show", "Show a job, and its picture."),
        "result": Row("jobs.result", "result", "Download the outputs of a job."),
        "stop": Row("jobs.changes", "stop", "Cancel jobs."),
        "pause": Row("jobs.pauses", "pause", "Set jobs aside; operators also pause slots, or the queue."),
        "resume": Row("jobs.pauses", "resume", "Let paused jobs, slots or the queue go on."),
        "retry": Row("jobs.changes", "retry", "Submit failed, cancelled or expired jobs again."),
        "delete": Row("jobs.changes", "delete", "Delete jobs and their files; cancel unfinished ones first."),
        "events": Row("jobs.events", "events", "Print the events of a job, or of all jobs."),
        "webhooks": Row("jobs.webhooks", "webhooks", "Show the webhooks of a job, or of all; send them again."),
        "inspect": Row("jobs.inspect", "inspect", "Show how an image or video was made."),
    },
    "Server": {
        "top": Row("server.top", "top", "Show slots and jobs, refreshed like top."),
        "queue": Row("server.service", "queue", "Show the queue."),
        "fleet": Row("server.service", "fleet", "Show the slots and their jobs."),
        "service": Row("server.service", "service", "Show queue and slots."),
        "models": Row("server.models", "models", "List the models; load, unload, pin and check them (admin)."),
    },
    "Administration": {
        "front": Row("server.administration", "front", "Move a waiting job to the front of the queue (admin)."),
        "drain": Row("server.administration", "drain", "Pause slots and wait until they run no job (admin)."),
        "yield": Row("server.administration", "yield_memory", "Pause slots and free their GPU's memory (admin)."),
        "dead": Row("server.administration", "dead", "List jobs that failed because their workers died (admin)."),
        "storage": Row("server.administration", "storage", "Show stored files and the space on the disks (admin)."),
        "usage": Row("server.usage", "usage", "Show GPU time, jobs and files by day, key and model."),
        "keys": Row("server.keys", "keys", "Create, list and revoke API keys (admin)."),
    },
    "This machine": {
        "login": Row("machine.login", "login", "Remember a server and its API key."),
        "logout": Row("machine.login", "logout", "Forget a server and its API key."),
        "doctor": Row("machine.doctor", "doctor", "Check server and settings, and say what to do."),
        "up": Row("machine.checkout", "up", "Start a server from its checkout; see framemill up --help."),
        "logs": Row("machine.checkout", "logs", "Follow the logs of a server started from its checkout."),
        "completion": Row("machine.completion", "completion", "Print the completion script of a shell."),
    },
}
#: Other names of commands, which are not listed.
ALIASES = {"status": "show", "cancel": "stop", "follow": "events"}
#: Commands that pass their arguments on.
_PASSED_ON = ("up", "logs")


class FramemillCommand(click.Group):
    """Lists the subcommands in sections, loads them when they are called, and converts exceptions to exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for rows in SECTIONS.values() for name in rows]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        for rows in SECTIONS.values():
            if name in rows:
                module = import_module(f".commands.{rows[name].module}", __package__)
                command: click.Command = getattr(module, rows[name].attribute)
                return command if name in _PASSED_ON else global_options.add_to(command)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, rows in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, row.help) for name, row in rows.items()])

    def invoke(self, ctx: click.Context) -> int:
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader (head, less) has seen enough. Without this, Python reports another error at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            return 130
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as exc:
            code = failures.report(exc, ctx.ensure_object(Session))
            if code is None:
                raise
            return code
        return 0


@click.group(
    cls=FramemillCommand,
    epilog=f"{EXIT_CODES}\n{DOCUMENTATION}",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="framemill", message="%(prog)s %(version)s")
@click.pass_context
def framemill(context: click.Context) -> None:
    """Submit jobs to a Framemill server, watch them, and administer the server."""
    context.ensure_object(Session)


global_options.add_to(framemill, hidden=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see :data:`EXIT_CODES`)."""
    try:
        code = framemill.main(argv, prog_name="framemill", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return exc.exit_code
    except click.ClickException as exc:
        click.echo(failures.usage_line(exc), err=True)
        return exc.exit_code
    except click.Abort:
        return 130
    return int(code or 0)
