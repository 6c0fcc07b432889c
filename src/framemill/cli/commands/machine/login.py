"""``framemill login`` and ``framemill logout``: remember a server and its API key, or forget them."""

from __future__ import annotations

import re
import sys

import click

from framemill.cli.context import servers
from framemill.cli.context.session import Session, pass_session

_LOOPBACK = re.compile(r"http://(localhost|127\.|\[::1\])")


@click.command()
@click.argument("url", metavar="[URL]", required=False)
@pass_session
def login(session: Session, url: str | None) -> None:
    """Remember the server at URL and its API key. Later commands use both.

    The key is asked for without being shown, or read from standard input. Press Enter for a server without keys.
    Nothing is stored unless the server accepts it. The file is readable by you only; a key is sent to its own server
    only.
    """
    if url:
        session.given_url = url
    if sys.stdin.isatty():
        key = click.prompt(f"API key of {session.url}", hide_input=True, default="", show_default=False, err=True)
    else:
        key = sys.stdin.readline()
    session.given_key = key = key.strip()
    version = _accepted(session, key)
    path = servers.save(session.servers.with_server(session.url, key))
    session.print({"url": session.url, "version": version, "file": str(path)}, "")
    if key and session.url.startswith("http://") and not _LOOPBACK.match(session.url):
        session.note("note: without https, everybody on the way to this server can read the key")
    session.note(f"logged in to {session.url}; stored in {path}")


def _accepted(session: Session, key: str) -> str:
    """Return the version of the server; '' if the key may not ask for it.

    Raises:
        ApiError: the server does not accept the key, or cannot be reached.
        ValueError: invalid address.
    """
    from framemill.client import Client
    from framemill.errors import ApiError

    with Client(session.url, key or None, session.timeout_s) as client:
        try:
            return client.fleet()["version"]
        except ApiError as exc:
            if exc.status != 403:  # a known key that may not call this route
                raise
            return ""


@click.command()
@click.argument("url", metavar="[URL]", required=False)
@pass_session
def logout(session: Session, url: str | None) -> None:
    """Forget the server at URL and its API key. Default: the server that commands use now."""
    address = (url or session.url).rstrip("/")
    known = session.servers
    is_known = address in known.keys
    if is_known:
        servers.save(known.without(address))
    session.print({"url": address, "forgotten": is_known}, "")
    session.note(f"forgot {address} and its key" if is_known else f"nothing was stored for {address}")
