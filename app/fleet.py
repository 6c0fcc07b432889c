"""The state of the service for requests, read once for all that ask at the same time."""

from __future__ import annotations

from functools import partial

from app.extensions import current
from jobs.store import queries
from jobs.store.queries import Fleet

_NAME = "fleet"


def now(only_slot: str = "") -> Fleet:
    """Return the state of the service with every slot, or only the named one. It shows every earlier change."""
    app = current()
    if only_slot:
        return queries.fleet(app.store, only_slot)
    return app.reads.get(_NAME, partial(queries.fleet, app.store))


def recent() -> Fleet:
    """Return the state of the service, at most a second old."""
    app = current()
    return app.reads.recent(_NAME, partial(queries.fleet, app.store))
