"""The position of a job in the queue, and its expected time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Forecast:
    """Position and expected time of a job at one moment."""

    #: 1 is next; 0 once it has a slot; None when the job is paused, is over, or may not start yet.
    position: int | None
    #: Seconds until it is computed; None if no similar job was measured yet, or no slot can run it.
    eta_s: float | None = None
    #: What the job waits for before any slot can run it: ``model X``, ``slot gpu1``, ``resume of the queue``,
    #: ``resume of slot gpu1``, ``resume of the job``, ``the time 2026-01-31T18:00:00Z``.
    waiting_for: str | None = None

    @classmethod
    def from_reply(cls, reply: list[Any]) -> Forecast:
        position, eta_s, waiting_for = reply
        if waiting_for.isdecimal():
            moment = datetime.fromtimestamp(int(waiting_for) / 1000, UTC).isoformat(timespec="seconds")
            waiting_for = f"the time {moment.replace('+00:00', 'Z')}"
        return cls(None if position < 0 else position, float(eta_s) if eta_s else None, waiting_for or None)


#: The forecast of every job that is over.
OVER = Forecast(None)
