"""What ``framemill doctor`` and the start of a server found: one line each, with what to do."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

import click

from framemill.cli.display import terminal

OK, NOTE, PROBLEM = "ok", "note", "problem"
_MARKS = {OK: ("✓", "ok", "green"), NOTE: ("!", "note", "yellow"), PROBLEM: ("✗", "FAIL", "red")}
_NAME_COLUMNS = 9


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    #: What was checked, in one word.
    name: str
    #: ``ok``, ``note`` (works, but will be noticed) or ``problem``.
    state: str
    #: What was found.
    text: str
    #: What to do; "" if there is nothing to do.
    remedy: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def line(finding: Finding) -> str:
    """Return a finding as text: a mark, what was checked and what was found; below it what to do."""
    mark, word, colour = _MARKS[finding.state]
    if not _is_unicode():
        mark = f"{word:4}"
    if terminal.has_colours(sys.stdout):
        mark = click.style(mark, fg=colour)
    text = f"{mark} {finding.name:{_NAME_COLUMNS}} {finding.text}"
    return f"{text}\n  {'':{_NAME_COLUMNS}} → {finding.remedy}" if finding.remedy else text


def _is_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
