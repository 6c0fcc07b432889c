"""What a line of the log looks like: text for people, JSON for programs. Links are shown without their queries."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Any

#: The query of a link, and what may be one in a request line that is malformed.
_QUERY = re.compile(r"(?<=[^\s?])\?[^\s\"'<>]+")
_MALFORMED_REQUEST = re.compile(r"(Invalid request from ip=\S+ [^'\"?]*).*", re.DOTALL)


def without_queries(text: str) -> str:
    """Hide the queries of all links in a text: ``?key=…`` and the signatures of presigned links are secrets."""
    if "Invalid request" in text:
        text = _MALFORMED_REQUEST.sub(r"\1…", text)
    return _QUERY.sub("?…", text) if "?" in text else text


class SafeRecord(logging.LogRecord):
    """A log record that shows links without their queries, whichever logger and handler it passes."""

    _safe_exc_text: str | None = None

    def getMessage(self) -> str:
        return without_queries(super().getMessage())

    @property
    def exc_text(self) -> str | None:
        """The formatted exception, which formatters keep here."""
        return self._safe_exc_text

    @exc_text.setter
    def exc_text(self, text: str | None) -> None:
        self._safe_exc_text = without_queries(text) if text else text


_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message", "asctime", "taskName", "data", "_safe_exc_text", "color_message",
}  # fmt: skip
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)
#: ANSI colours of levels; other parts of a line are dim.
_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_DIM, _END = "\x1b[2m", "\x1b[0m"


class JsonFormatter(logging.Formatter):
    """Formats a record, with its traceback, as one JSON object: ``time``, ``level``, ``logger``, ``message``, ``pid``,
    ``exception`` if there is one, and the keys and values of ``extra``.
    """

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{clock}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
        }
        for key, value in vars(record).items():
            if key not in _STANDARD and value is not None and key not in line:
                line[key] = value if isinstance(value, int | float) else without_queries(str(value))
        if exception := _exception(self, record):
            line["exception"] = exception
        return _ENCODER.encode(line)


class TextFormatter(logging.Formatter):
    """Formats ``time level logger message key=value …``; keys and values come from ``extra``. A traceback follows.

    Args:
        colours: whether levels and keys are coloured, for a terminal.
    """

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        clock = f"{time.strftime('%H:%M:%S', time.localtime(record.created))}.{int(record.msecs):03d}"
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD and value is not None}
        line = text_line(clock, record.levelname, record.name, record.getMessage(), fields, colours=self._colours)
        exception = _exception(self, record)
        return f"{line}\n{exception}" if exception else line


def text_line(
    clock: str, level: str, logger: str, message: str, fields: Mapping[str, Any], *, colours: bool = False
) -> str:
    """Return a line for people."""
    message = message.rstrip()
    if not colours:
        return f"{clock} {level:<7} {logger} {message}" + "".join(f" {k}={_text(v)}" for k, v in fields.items())
    details = "".join(f" {_DIM}{k}={_END}{_text(v)}" for k, v in fields.items())
    level = f"\x1b[{_COLOURS.get(level, '0')}m{level:<7}{_END}"
    return f"{_DIM}{clock}{_END} {level} {_DIM}{logger}{_END} {message}{details}"


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """Return the traceback of a record, '' if it has none."""
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    stack = formatter.formatStack(record.stack_info) if record.stack_info else ""
    return "\n".join(part for part in (record.exc_text, stack) if part)


def _text(value: Any) -> str:
    text = without_queries(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or "\n" in text or not text else text
