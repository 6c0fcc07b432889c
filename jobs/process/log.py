"""Logging: one line format for all processes, configured once when a process starts, and no secrets of links in it."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any

#: The query of a link, and what may be one in a request line that is malformed.
_QUERY = re.compile(r"(?<=[^\s?])\?[^\s\"'<>]+")
_MALFORMED_REQUEST = re.compile(r"(Invalid request from ip=\S+ [^'\"?]*).*", re.DOTALL)


def without_queries(text: str) -> str:
    """Hide the queries of all links in a text: ``?key=…`` and the signatures of presigned links are secrets."""
    return _QUERY.sub("?…", _MALFORMED_REQUEST.sub(r"\1…", text))


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


def hide_queries() -> None:
    """Hide the queries of links in all logs of this process: its own, and those of gunicorn, Celery and Flower."""
    logging.setLogRecordFactory(SafeRecord)


_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data", "_safe_exc_text"}


class LineFormatter(logging.Formatter):
    """Formats ``time level logger message key=value …``; keys and values come from ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock}.{int(record.msecs):03d} {record.levelname:<7} {record.name} {record.getMessage()}"
        line += "".join(f" {key}={_text(value)}" for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            record.exc_text = record.exc_text or self.formatException(record.exc_info)
            line += f"\n{record.exc_text}"
        return line


def configure(level: str) -> None:
    """Log messages of at least this level to standard error. Called when a process starts, never at import."""
    hide_queries()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # The worker logs one line at the end of each run, with more details than Celery's "received" and "succeeded".
    quiet = ("celery.worker.strategy", "celery.app.trace")
    for noisy in (*quiet, "botocore", "boto3", "urllib3", "s3transfer", "PIL", "kombu", "amqp", "filelock", "httpx"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _text(value: Any) -> str:
    text = without_queries(str(value))
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text
