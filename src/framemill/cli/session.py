"""State shared by all subcommands: the client and the output format."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import click

from framemill.cli import output
from framemill.client import Client


class Session:
    """One run of the command.

    Args:
        context: closes the client when it ends.
        url: address of the server.
        api_key: API key, or None.
        timeout_s: maximum wait for a response, in seconds.
        as_json: print the server's responses as JSON instead of text.
    """

    def __init__(self, context: click.Context, url: str, api_key: str | None, timeout_s: float, as_json: bool) -> None:
        self._context = context
        self._arguments = (url, api_key, timeout_s)
        self.as_json = as_json

    @cached_property
    def client(self) -> Client:
        """The client, opened when a subcommand needs it. Raises: ValueError: invalid address or API key."""
        return self._context.with_resource(Client(*self._arguments))

    def print(self, raw: Any, text: str) -> None:
        """Print ``text``, or with ``--json`` the response ``raw`` on one line."""
        if self.as_json:
            output.print_json(raw)
        elif text:
            output.print_text(text)


pass_session = click.make_pass_decorator(Session)
