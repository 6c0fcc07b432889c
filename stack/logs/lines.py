"""One form for the lines of all processes: ``2026-11-30 01:11:54.178 INFO    workers.parent.lease slot taken …``.

Lines of text have no date, and what is only printed has no time at all. With ``LOG_FORMAT=json``, the lines stay as
they are in the files, and are text where people read them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from jobs.process.log_lines import text_line

_OWN = re.compile(r"(?P<clock>\d\d:\d\d:\d\d\.\d{3}) (?P<level>[A-Z]+) +(?P<text>.*)")
_DATED = re.compile(r"(\d{4}-\d\d-\d\d \S+ )([A-Z]+)( .*)", re.DOTALL)
#: Fields of a JSON line that a line of text has at its beginning, or leaves out.
_HEAD = ("time", "level", "logger", "message", "pid", "exception")
#: Levels that the terminal shows, too.
SERIOUS = frozenset({"ERROR", "CRITICAL"})
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


class Tidy:
    """Brings the lines of one process into one form.

    Args:
        now: Unix time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._in_traceback = False
        #: Level of the newest line that has one.
        self.level = ""

    def line(self, text: str) -> str | None:
        """Return a line in the common form; None for an empty one. A traceback and JSON stay as they are."""
        text = text.rstrip()
        if not text:
            return None
        if match := _OWN.match(text):
            self._in_traceback, self.level = False, match["level"]
            return f"{self._date()} {match['clock']} {self.level:<7} {match['text']}"
        if record := record_of(text):
            self._in_traceback, self.level = False, str(record["level"])
            return text
        if text.startswith("Traceback "):
            self._in_traceback = True
        if self._in_traceback or text[0].isspace():
            return text
        self.level = ""
        return f"{self._date()} {time.strftime('%H:%M:%S', time.localtime(self._now()))}     {text}"

    def _date(self) -> str:
        return time.strftime("%Y-%m-%d", time.localtime(self._now()))


def record_of(line: str) -> dict[str, Any] | None:
    """Return the object in a JSON line of a log; None for other lines."""
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if all(isinstance(record.get(name), str) for name in _HEAD[:4]) else None


def for_people(line: str, *, colours: bool = False) -> str:
    """Return a line of a log file as text.

    Args:
        line: text or JSON.
        colours: whether the levels that matter are coloured.
    """
    if record := record_of(line):
        line = _text_of(record)
    match = _DATED.fullmatch(line) if colours else None
    if match and match[2] in _COLOURS:
        return match[1] + click.style(match[2], fg=_COLOURS[match[2]]) + match[3]
    return line


def _text_of(record: dict[str, Any]) -> str:
    try:
        clock = datetime.fromisoformat(record["time"]).astimezone()
    except ValueError:
        clock = datetime.fromtimestamp(0, UTC)
    fields = {name: value for name, value in record.items() if name not in _HEAD}
    head = clock.strftime("%Y-%m-%d %H:%M:%S.") + f"{clock.microsecond // 1000:03d}"
    text = text_line(head, record["level"], record["logger"], record["message"], fields)
    return f"{text}\n{record['exception']}" if record.get("exception") else text
