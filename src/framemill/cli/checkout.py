"""``framemill up``: start a server from its checkout. This package itself contains no server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


def find_checkout() -> Path | None:
    """Return the checkout that this package belongs to, or the one around the working directory."""
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[3], here, *here.parents):
        if (folder / "stack" / "__main__.py").is_file() and (folder / "Procfile").is_file():
            return folder
    return None


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    short_help="Start a server from its checkout; see framemill up --help.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def up(arguments: tuple[str, ...]) -> None:
    """Replace this process with ``python -m stack up``, in the folder of the checkout."""
    folder = find_checkout()
    if folder is None:
        raise ValueError("a server is started from its checkout; there is none here")
    os.chdir(folder)
    os.execv(sys.executable, [sys.executable, "-m", "stack", "up", *arguments])  # noqa: S606  (our own interpreter)
