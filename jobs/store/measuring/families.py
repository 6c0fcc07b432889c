"""The families of measurements: what is measured, by which labels, and between which bounds.

The values of labels come from small sets: models of the models file, rules of routes, words. Never keys, prompts or
paths that a client chose.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

#: Bounds in seconds, for what takes milliseconds, a step, and minutes.
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STEP = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
#: The bucket of what is above the highest bound.
INFINITE = "+Inf"


@dataclass(frozen=True)
class Histogram:
    """Durations, counted by the first bound that they do not exceed."""

    #: Ends in ``_seconds``.
    name: str
    text: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]

    @cached_property
    def buckets(self) -> tuple[str, ...]:
        """The bounds as texts, in ascending order; the last one is infinite."""
        return (*(f"{bound:g}" for bound in self.bounds), INFINITE)

    def bucket_of(self, seconds: float) -> str:
        """Return the bucket that counts a duration."""
        return self.buckets[bisect_left(self.bounds, seconds)]


@dataclass(frozen=True)
class Counter:
    """A number that only grows."""

    #: Ends in ``_total``.
    name: str
    text: str
    labels: tuple[str, ...]


WAIT = Histogram("wait_seconds", "From submission to the start of the first run", ("model",), _LONG)
LOAD = Histogram("model_load_seconds", "Loading a model into memory", ("model",), _LONG)
RUN = Histogram("run_seconds", "Computing, without loading the model", ("model",), _LONG)
STEP = Histogram("step_seconds", "One step of a run", ("model",), _STEP)
DELIVERY = Histogram("delivery_seconds", "From the end of a run to its published outputs", ("model",), _LONG)
CANCEL = Histogram("cancel_seconds", "From a cancellation until the slot of the run was free", (), _SHORT)
ETA_ERROR = Histogram("eta_error_seconds", "Difference between the first expected time and the actual one", ("model",),
                      _LONG)  # fmt: skip
REQUEST = Histogram("http_request_seconds", "HTTP requests until the response begins, by rule of the route and class "
                    "of the status", ("method", "route", "status"), _SHORT)  # fmt: skip
WEBHOOK = Histogram("webhook_seconds", "Attempts to send a webhook message, by what became of the message",
                    ("outcome",), _SHORT)  # fmt: skip
OBJECTS = Histogram("object_store_seconds", "Calls of the object store", ("operation", "outcome"), _SHORT)
SHARED = Counter("shared_jobs_total", "Jobs that shared the run of another one", ("model",))
ATTEMPTS = Counter("attempts_total", "Runs that ended, by how", ("outcome",))

HISTOGRAMS = (WAIT, LOAD, RUN, STEP, DELIVERY, CANCEL, ETA_ERROR, REQUEST, WEBHOOK, OBJECTS)
COUNTERS = (ATTEMPTS, SHARED)
#: How a run ends, besides ``lost``, which the scripts count.
OUTCOMES = ("computed", "failed", "cancelled", "handed_back", "interrupted")
