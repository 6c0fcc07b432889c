"""Options that every command accepts, before or after its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from framemill.cli.context.session import LOCAL_URL, Session
from framemill.cli.display.output import note


def _stores(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """Return a callback that sets an attribute of the session if the option was given."""

    def store(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        if value:
            setattr(context.find_root().ensure_object(Session), attribute, value)

    return store


def _given_key(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    _stores("given_key")(context, parameter, value)
    if value:
        note("note: others can read the key in --api-key; use 'framemill login', or set FRAMEMILL_API_KEY")


def _options(*, hidden: bool) -> list[click.Option]:
    common: dict[str, Any] = {"expose_value": False, "is_eager": True}
    return [
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            callback=_stores("as_json"),
            help="Print the server's response as JSON.",
            **common,
        ),
        click.Option(
            ["--url", "given_url"],
            metavar="URL",
            hidden=hidden,
            callback=_stores("given_url"),
            help="Address of the server. Default: $FRAMEMILL_URL, else the one of the last 'framemill login', "
            f"else {LOCAL_URL}.",
            **common,
        ),
        click.Option(
            ["--timeout", "timeout_s"],
            type=float,
            metavar="SECONDS",
            hidden=hidden,
            callback=_stores("timeout_s"),
            help="Maximum time to wait for a response. Default: 30.",
            **common,
        ),
        # The option stays for programs that use it.
        click.Option(["--api-key", "given_key"], metavar="KEY", hidden=True, callback=_given_key, **common),
    ]


def add_to(command: click.Command, *, hidden: bool = True) -> click.Command:
    """Add the options to a command and its subcommands, unless they are there; ``--help`` shows only ``--json``."""
    for option in _options(hidden=hidden):
        if not any(known.name == option.name for known in command.params):
            command.params.append(option)
    for inner in getattr(command, "commands", {}).values():
        add_to(inner)
    return command
