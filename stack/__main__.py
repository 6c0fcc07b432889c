"""``python -m stack``: commands ``up``, ``demo``, ``doctor``, ``logs`` and ``redis``."""

from __future__ import annotations

import sys

import click

from stack.checks import doctor
from stack.demo import demo
from stack.embedded_redis.server import redis
from stack.logs.follow import logs
from stack.up import up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def stack() -> None:
    """Run a complete Framemill on this machine."""


for _command in (up, demo, doctor, logs, redis):
    stack.add_command(_command)


def main() -> int:
    """Run the command and return its exit code."""
    try:
        return int(stack.main(prog_name="python -m stack", standalone_mode=False) or 0)
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main())
