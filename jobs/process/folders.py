"""Folders and files that only this user and its group may read, whatever the process's umask is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

FOLDER_MODE = 0o750
FILE_MODE = 0o640


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents. Existing folders keep their mode."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir()
    except FileExistsError:  # created by another process meanwhile, or it is a file
        if not path.is_dir():
            raise
    else:
        path.chmod(FOLDER_MODE)


def create_file(path: Path) -> BinaryIO:
    """Open a file for writing, emptied if it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    os.fchmod(descriptor, FILE_MODE)
    return os.fdopen(descriptor, "wb")
