"""Where a job stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Forecast:
    """A job's place and expected time, as of one moment."""

    #: 1 is next; 0 once it has a slot; None when it is over.
    position: int | None
    #: Seconds until it is computed; None while nothing like it was measured, or nothing can run it.
    eta_s: float | None = None
    #: What keeps it from running at all: ``model X``, ``slot gpu1``, ``resume of the queue``,
    #: ``resume of slot gpu1``.
    waiting_for: str | None = None

    @classmethod
    def from_reply(cls, reply: list[Any]) -> Forecast:
        position, eta_s, waiting_for = reply
        return cls(None if position < 0 else position, float(eta_s) if eta_s else None, waiting_for or None)


#: Of every job that is over.
OVER = Forecast(None)
