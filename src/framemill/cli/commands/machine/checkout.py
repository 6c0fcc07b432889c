"""``framemill up`` and ``framemill logs``: a server in its checkout. This package itself contains no server."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click


def find_checkout() -> Path | None:
    """Return the checkout that this package belongs to, or the one around the working directory."""
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[5], here, *here.parents):
        if (folder / "stack" / "__main__.py").is_file() and (folder / "Procfile").is_file():
            return folder
    return None


def _passed_on(name: str, text: str) -> click.Command:
    """Return a command that replaces this process with ``python -m stack NAME``, in the folder of the checkout."""

    @click.command(name=name, help=text, add_help_option=False, context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> None:
        folder = find_checkout()
        if folder is None:
            raise ValueError("a server is started from its checkout, and there is none here: clone it, or cd into it")
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "stack", name, *arguments])  # noqa: S606  (our interpreter)

    return run


up = _passed_on("up", "Start a server in this checkout.")
logs = _passed_on("logs", "Follow the logs of the server in this checkout.")
