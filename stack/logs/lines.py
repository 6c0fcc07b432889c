"""One form for the lines of all processes: ``2026-11-30 01:11:54.178 INFO    workers.parent.lease slot taken …``.

Framemill's own lines have no date, those of gunicorn and of Flower (tornado) have forms of their own, and what is only
printed has no time at all.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

_OWN = re.compile(r"(?P<clock>\d\d:\d\d:\d\d\.\d{3}) (?P<level>[A-Z]+) +(?P<text>.*)")
_GUNICORN = re.compile(
    r"\[(?P<date>\d{4}-\d\d-\d\d) (?P<clock>\d\d:\d\d:\d\d) [+-]\d{4}\] \[\d+\] \[(?P<level>[A-Z]+)\] (?P<text>.*)"
)
_TORNADO = re.compile(r"\[(?P<level>[DIWEC]) \d{6} (?P<clock>\d\d:\d\d:\d\d) (?P<module>\w+):\d+\] (?P<text>.*)")
_LEVELS = {"D": "DEBUG", "I": "INFO", "W": "WARNING", "E": "ERROR", "C": "CRITICAL"}
#: Levels that the terminal shows, too.
SERIOUS = frozenset({"ERROR", "CRITICAL"})


class Tidy:
    """Brings the lines of one process into one form.

    Args:
        name: the process.
        now: Unix time in seconds.
    """

    def __init__(self, name: str, now: Callable[[], float] = time.time) -> None:
        self._name = name
        self._now = now
        self._in_traceback = False
        #: Level of the newest line that has one.
        self.level = ""

    def line(self, text: str) -> str | None:
        """Return a line in the common form; None for an empty one. A traceback stays as it is."""
        text = text.rstrip()
        if not text:
            return None
        for form in (_OWN, _GUNICORN, _TORNADO):
            if match := form.match(text):
                return self._record(match)
        if text.startswith("Traceback "):
            self._in_traceback = True
        if self._in_traceback or text[0].isspace():
            return text
        self.level = ""
        return f"{self._date()} {time.strftime('%H:%M:%S', time.localtime(self._now()))}     {text}"

    def _record(self, match: re.Match[str]) -> str:
        self._in_traceback = False
        parts = match.groupdict()
        self.level = _LEVELS.get(parts["level"], parts["level"])
        clock = parts["clock"] if "." in parts["clock"] else f"{parts['clock']}.000"
        source = "" if match.re is _OWN else "gunicorn " if match.re is _GUNICORN else f"{self._name} "
        return f"{parts.get('date') or self._date()} {clock} {self.level:<7} {source}{parts['text']}"

    def _date(self) -> str:
        return time.strftime("%Y-%m-%d", time.localtime(self._now()))
