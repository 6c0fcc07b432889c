"""Logging: one form for the lines of all processes, configured when a process starts, and no secrets of links in it."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from types import TracebackType
from typing import Any, TextIO

from jobs.process.frequent_lines import LineHandler
from jobs.process.log_lines import JsonFormatter, LineFormatter, SafeRecord, TextFormatter

logger = logging.getLogger(__name__)

#: Loggers whose lower levels say nothing about Framemill. The worker logs one line at the end of each run, with more
#: details than Celery's "received" and "succeeded".
_NOISY = (
    "celery.worker.strategy", "celery.app.trace", "botocore", "boto3", "urllib3", "s3transfer", "PIL", "kombu", "amqp",
    "filelock", "httpx",
)  # fmt: skip


def hide_queries() -> None:
    """Hide the queries of links in all logs of this process: its own, and those of gunicorn, Celery and Flower."""
    logging.setLogRecordFactory(SafeRecord)


def configure(level: str, form: str = "auto") -> None:
    """Log messages of at least this level to standard error. Called when a process starts, never at import.

    Args:
        level: name of the level.
        form: ``text``, ``json``, or ``auto``: text on a terminal, JSON otherwise.
    """
    hide_queries()
    formatter = _formatter(form, sys.stderr)
    root = logging.getLogger()
    root.handlers[:] = [_handler(formatter, logging.NOTSET)]
    root.setLevel(level)
    # For loggers that do not propagate and have no handler: billiard's.
    logging.lastResort = _handler(formatter, logging.WARNING)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def take_over() -> None:
    """Log what Python itself would print: warnings, and exceptions that nothing handles. For whole processes only."""
    logging.captureWarnings(True)
    warnings.formatwarning = _format_warning
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_of_thread


def _handler(formatter: LineFormatter, level: int) -> LineHandler:
    handler = LineHandler(sys.stderr, formatter)
    handler.setLevel(level)
    return handler


def _formatter(form: str, stream: TextIO) -> LineFormatter:
    is_terminal = stream.isatty()
    if form == "json" or (form == "auto" and not is_terminal):
        return JsonFormatter()
    return TextFormatter(colours=is_terminal and not os.environ.get("NO_COLOR"))


def _format_warning(message: Any, category: type[Warning], filename: str, lineno: int, line: Any = None) -> str:
    return f"{category.__name__}: {message} ({filename}:{lineno})"


def _log_uncaught(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, exc, traceback)
        return
    logger.critical("uncaught exception", exc_info=(kind, exc, traceback))


def _log_uncaught_of_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or issubclass(args.exc_type, SystemExit):
        return
    name = args.thread.name if args.thread else "-"
    exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
    logger.critical("uncaught exception in a thread", exc_info=exc_info, extra={"thread_name": name})
