"""Lines that are logged for each request or each job, without what a record of the standard library costs.

A logger looks for its caller, makes a record of twenty attributes, and copies the fields into it and out of it again.
That takes twice as long as making the line and writing it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, TextIO

from jobs.process.log_lines import LineFormatter


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes lines to a stream; the only handler of Framemill's processes."""

    def __init__(self, stream: TextIO, formatter: LineFormatter) -> None:
        super().__init__(stream)
        self._lines = formatter
        self.setFormatter(formatter)

    def write(self, level: int, logger: str, message: str, fields: Mapping[str, Any]) -> None:
        """Write a line of which there is no record; an error is reported as that of any other line."""
        try:
            line = self._lines.line(time.time(), logging.getLevelName(level), logger, message, fields)
            self.acquire()
            try:
                self.stream.write(line + self.terminator)
                self.flush()
            finally:
                self.release()
        except Exception:
            self.handleError(logging.makeLogRecord({"msg": message, "levelno": level, "name": logger}))


class FrequentLines:
    """One kind of line of one logger.

    Args:
        logger: whose level decides whether the lines are shown. While it or the root has another handler than
            :class:`LineHandler`, a line is an ordinary record.
        message: what happened.
    """

    def __init__(self, logger: logging.Logger, message: str) -> None:
        self._logger, self._message = logger, message

    def is_shown(self, level: int) -> bool:
        """Return whether lines of this level are written."""
        return self._logger.isEnabledFor(level)

    def log(self, level: int, fields: Mapping[str, Any]) -> None:
        """Write a line, which :meth:`is_shown`, with these fields; None is left out."""
        handler = self._only_handler(level)
        if handler is None:
            self._logger.log(level, self._message, extra=fields)
        else:
            handler.write(level, self._logger.name, self._message, fields)

    def _only_handler(self, level: int) -> LineHandler | None:
        """Return the handler that gets the lines; None if there are others, or filters."""
        if self._logger.filters:
            return None
        found: list[logging.Handler] = []
        logger: logging.Logger | None = self._logger
        while logger is not None:
            found += logger.handlers
            logger = logger.parent if logger.propagate else None
        only = found[0] if len(found) == 1 else None
        return only if isinstance(only, LineHandler) and only.level <= level and not only.filters else None
