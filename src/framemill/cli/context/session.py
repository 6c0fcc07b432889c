"""State shared by all subcommands: the server, the client and the output format."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

import click

from framemill.cli.context import servers
from framemill.cli.display import output

if TYPE_CHECKING:
    from framemill.client import Client

LOCAL_URL = "http://127.0.0.1:8000"


class Session:
    """One run of the command. The global options set its attributes, wherever they stand on the line."""

    def __init__(self) -> None:
        #: ``--url``; empty: not given.
        self.given_url = ""
        #: ``--api-key``; empty: not given.
        self.given_key = ""
        #: Maximum wait for a response, in seconds.
        self.timeout_s = 30.0
        #: Print the server's responses as JSON instead of text.
        self.as_json = False

    @cached_property
    def servers(self) -> servers.Servers:
        """The remembered servers. Raises: ValueError: their file is damaged."""
        if not servers.is_private():
            output.note(f"note: others can read your API keys: chmod 600 {servers.file()}")
        return servers.load()

    @property
    def url(self) -> str:
        """Address of the server: ``--url``, ``FRAMEMILL_URL``, the remembered one, or the one on this machine."""
        url = self.given_url or os.environ.get("FRAMEMILL_URL", "") or self.servers.default or LOCAL_URL
        return url.rstrip("/")

    @property
    def api_key(self) -> str | None:
        """The API key: that of the environment, or the one that is remembered for this server."""
        return self.given_key or os.environ.get("FRAMEMILL_API_KEY", "") or self.servers.keys.get(self.url) or None

    @cached_property
    def client(self) -> Client:
        """The client, opened when a subcommand needs it. Raises: ValueError: invalid address or API key."""
        from framemill.client import Client

        root = click.get_current_context().find_root()
        return root.with_resource(Client(self.url, self.api_key, self.timeout_s))

    def print(self, raw: Any, text: str) -> None:
        """Print ``text``, or with ``--json`` the response ``raw`` on one line."""
        if self.as_json:
            output.print_json(raw)
        elif text:
            output.print_text(text)

    def note(self, text: str) -> None:
        """Print a message for people to standard error, unless a program reads the output."""
        if not self.as_json:
            output.note(text)


pass_session = click.make_pass_decorator(Session, ensure=True)
