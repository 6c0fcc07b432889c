"""Where a key stands in a TOML text. ``tomllib`` does not say."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any


def line_of(text: str, path: Sequence[str]) -> int:
    """The number of the line, from 1, in which the statement that makes a key begins.

    A path that does not exist gives the line of the longest part of it that does; 1 if not even its first part does.
    The parser itself is asked, with one line more each time, so quoting and values over many lines count as it sees
    them. Slow (it is called for a mistake only).

    Args:
        text: valid TOML.
        path: names from the outside in, such as ``("model", "limits", "steps")``.
    """
    lines = text.splitlines(keepends=True)
    found, depth, begin = 1, 0, 0
    for end in range(1, len(lines) + 1):
        try:
            tables = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # within a value of several lines
        if (now := _depth(tables, path)) > depth:
            found, depth = begin + 1, now
        begin = end
    return found


def _depth(tables: Any, path: Sequence[str]) -> int:
    """How many names of the path exist."""
    for depth, name in enumerate(path):
        if not isinstance(tables, dict) or name not in tables:
            return depth
        tables = tables[name]
    return len(path)
