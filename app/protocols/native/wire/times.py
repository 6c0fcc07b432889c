"""Times in requests of the native API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.fields import Number

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The last second that the year 9999 has, since 1970.
_MAX_S = 253_402_300_799


def milliseconds(moment: datetime) -> int:
    """Return a time with an offset as milliseconds since 1970."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


class StartTime(Number):
    """A time, as milliseconds since 1970: a text with a date, a time and its offset, or the seconds since 1970."""

    default_error_messages = {
        "invalid": "must be a time with its offset, such as 2026-01-31T18:00:00Z, or the seconds since 1970",
        "range": "must be between the years 1970 and 9999",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        moment = _time_of(value) if isinstance(value, str) else None
        if moment is None:
            seconds = super()._deserialize(value, attr, data, **kwargs)
            if not 0 <= seconds <= _MAX_S:
                raise self.make_error("range")
            return int(1000 * seconds)
        if moment < _EPOCH:
            raise self.make_error("range")
        return milliseconds(moment)


def _time_of(text: str) -> datetime | None:
    """Return the time that a text says; None for any other text."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return moment if moment.tzinfo else None
