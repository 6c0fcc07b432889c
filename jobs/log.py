"""Logging: one line format for all processes, configured once when a process starts."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

_STANDARD = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data"}


class LineFormatter(logging.Formatter):
    """Formats ``time level logger message key=value …``; keys and values come from ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{clock}.{int(record.msecs):03d} {record.levelname:<7} {record.name} {record.getMessage()}"
        line += "".join(f" {key}={_text(value)}" for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure(level: str) -> None:
    """Log messages of at least this level to standard error. Called when a process starts, never at import."""
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
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text else text
