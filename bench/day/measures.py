"""What is measured during the day."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from bench.day.ideal import Ideal


@dataclass
class Moment:
    """The state of the service at one moment."""

    at_s: float
    waiting: dict[str, int]
    #: Shares of all slots.
    busy: float
    alive: float


@dataclass
class Guess:
    """What a caller was told about a waiting job."""

    at_s: float
    position: int
    eta_s: float | None
    #: Jobs that slots of its group had been given by then.
    bound_before: int


@dataclass
class Measures:
    """Everything that the report shows."""

    ideal: Ideal
    counts: Counter[str] = field(default_factory=Counter)
    moments: list[Moment] = field(default_factory=list)
    #: (step of time, class) → seconds that the jobs bound in it had waited.
    waits: dict[tuple[int, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    #: Slot seconds without a job while a job waited that the slot could run, and all slot seconds.
    idle_s: float = 0.0
    slot_s: float = 0.0
    #: By when the caller asked: (told place, real place, real place among the jobs that waited at that time), and
    #: (told, real seconds to the end).
    places: dict[str, list[tuple[int, int, int]]] = field(default_factory=lambda: defaultdict(list))
    etas: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
