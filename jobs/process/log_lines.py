"""What a line of the log looks like: text for people, JSON for programs. Links are shown without their queries."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
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


class LineFormatter(logging.Formatter, ABC):
    """Formats records, and lines of which there is no record, in one form."""

    @abstractmethod
    def line(self, created_s: float, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> str:
        """Return a line.

        Args:
            created_s: Unix time of the event, seconds.
            level, logger: their names.
            message: what happened, without queries of links.
            fields: further values by name; None is left out.
        """

    def format(self, record: logging.LogRecord) -> str:
        fields = self._fields(record)
        return self.line(record.created, record.levelname, record.name, record.getMessage(), fields)

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """Return the keys and values of ``extra``."""
        return {key: value for key, value in vars(record).items() if key not in _STANDARD}


class JsonFormatter(LineFormatter):
    """Formats a record, with its traceback, as one JSON object: ``time``, ``level``, ``logger``, ``message``, ``pid``,
    ``exception`` if there is one, and the keys and values of ``extra``.
    """

    def line(self, created_s: float, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> str:
        line = {
            "time": f"{_utc(int(created_s))}.{_ms(created_s):03d}Z", "level": level, "logger": logger,
            "message": message, "pid": os.getpid(),
        }  # fmt: skip
        for key, value in fields.items():
            if value is not None and key not in line:
                line[key] = value if isinstance(value, int | float) else without_queries(str(value))
        return _ENCODER.encode(line)

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = super()._fields(record)
        if exception := _exception(self, record):
            fields["exception"] = exception
        return fields


class TextFormatter(LineFormatter):
    """Formats ``time level logger message key=value …``; keys and values come from ``extra``. A traceback follows.

    Args:
        colours: whether levels and keys are coloured, for a terminal.
    """

    def __init__(self, *, colours: bool = False) -> None:
        super().__init__()
        self._colours = colours

    def line(self, created_s: float, level: str, logger: str, message: str, fields: Mapping[str, Any]) -> str:
        clock = f"{_local(int(created_s))}.{_ms(created_s):03d}"
        return text_line(clock, level, logger, message, fields, colours=self._colours)

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        exception = _exception(self, record)
        return f"{line}\n{exception}" if exception else line


@lru_cache(maxsize=2)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


@lru_cache(maxsize=2)
def _local(second: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(second))


def _ms(created_s: float) -> int:
    """Return the milliseconds within the second."""
    return int(created_s % 1 * 1000)


def text_line(
    clock: str, level: str, logger: str, message: str, fields: Mapping[str, Any], *, colours: bool = False
) -> str:
    """Return a line for people; fields that are None are left out."""
    message = message.rstrip()
    if not colours:
        details = "".join([f" {k}={_text(v)}" for k, v in fields.items() if v is not None])
        return f"{clock} {level:<7} {logger} {message}{details}"
    details = "".join([f" {_DIM}{k}={_END}{_text(v)}" for k, v in fields.items() if v is not None])
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
