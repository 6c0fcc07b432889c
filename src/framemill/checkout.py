"""Starting a server: handed to the launcher of a checkout, for this package only knows HTTP."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def find() -> Path | None:
    """The checkout that this package belongs to, or the one around the working directory."""
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parents[2], here, *here.parents):
        if (folder / "stack" / "__main__.py").is_file() and (folder / "Procfile").is_file():
            return folder
    return None


def up(arguments: Sequence[str]) -> int:
    """Become ``python -m stack up`` with these arguments, in the checkout's folder; returns 2 where there is none."""
    folder = find()
    if folder is None:
        print("framemill: a server is started from its checkout; there is none here", file=sys.stderr)
        return 2
    os.chdir(folder)
    return os.execv(sys.executable, [sys.executable, "-m", "stack", "up", *arguments])  # noqa: S606  (our own interpreter)
