"""Tables for people. On a terminal they fit its width; elsewhere every row is one line, and nothing is wrapped.

A terminal that is too narrow first shortens flexible columns, and then leaves out the least important ones.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click
from rich.cells import cell_len, set_cell_size

from framemill.cli.display import terminal

_GAP = 2
#: Fewest columns that a flexible column is shortened to.
_MIN_FLEXIBLE = 16
#: Most columns of a column that is cut, where there is no terminal.
_CUT_IN_PIPES = 60


@dataclass(frozen=True)
class Column:
    """A column of a table."""

    title: str
    #: ``""``: always whole. ``cut``: shortened with "…" to what is left. ``wrap``: continued on further lines.
    flexible: str = ""
    right: bool = False
    #: Columns with the highest number are left out first; 0: never.
    spare: int = 0
    #: Shown in the colours of states.
    is_state: bool = False


def table(columns: Sequence[Column | str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table; columns are two spaces apart."""
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    cells = [[_one_line(cell) for cell in row] for row in rows]
    on_terminal = terminal.is_terminal(sys.stdout)
    widths = [max(map(cell_len, (head.title, *(row[at] for row in cells)))) for at, head in enumerate(heads)]
    if on_terminal:
        shown, widths = _fitted(heads, widths, terminal.width())
    else:
        shown = list(range(len(heads)))
        widths = [min(one, _CUT_IN_PIPES) if heads[at].flexible == "cut" else one for at, one in enumerate(widths)]
    lines = [_line([(heads[at], heads[at].title, widths[at]) for at in shown], is_head=True)]
    for row in cells:
        parts = [_lines_of(row[at], heads[at], widths[at]) for at in shown]
        for number in range(max(map(len, parts))):
            lines.append(
                _line([
                    (heads[at], part[number] if number < len(part) else "", widths[at])
                    for at, part in zip(shown, parts, strict=True)
                ])
            )  # fmt: skip
    return "\n".join(lines)


def _fitted(heads: Sequence[Column], natural: Sequence[int], columns: int) -> tuple[list[int], list[int]]:
    """Return which columns are shown, and all widths."""
    shown, widths = list(range(len(heads))), list(natural)
    while True:
        over = sum(widths[at] for at in shown) + _GAP * (len(shown) - 1) - columns
        for at in sorted((at for at in shown if heads[at].flexible), key=lambda at: -widths[at]):
            given = max(0, min(over, widths[at] - _MIN_FLEXIBLE))
            widths[at] -= given
            over -= given
        spare = max(shown, key=lambda at: (heads[at].spare, at))
        if over <= 0 or not heads[spare].spare:
            return shown, widths
        shown.remove(spare)
        widths = list(natural)


def _lines_of(cell: str, head: Column, width: int) -> list[str]:
    if cell_len(cell) <= width or not head.flexible:
        return [cell]
    if head.flexible == "wrap" and terminal.is_terminal(sys.stdout):
        return textwrap.wrap(cell, width) or [""]
    return [shortened(cell, width)]


def shortened(text: str, columns: int) -> str:
    """Return ``text`` in at most this many columns of a terminal."""
    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1).rstrip() + "…"


def _line(cells: Iterable[tuple[Column, str, int]], *, is_head: bool = False) -> str:
    parts = []
    for head, text, width in cells:
        padding = " " * (width - cell_len(text))
        shown = terminal.coloured_state(text) if head.is_state and not is_head else text
        parts.append(padding + shown if head.right else shown + padding)
    line = (" " * _GAP).join(parts).rstrip()
    return click.style(line, bold=True) if is_head and terminal.has_colours(sys.stdout) else line


def _one_line(text: str) -> str:
    """Return a text on one line, without characters that control a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
