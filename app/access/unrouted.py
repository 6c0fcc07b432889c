"""Paths without a route that belong to a protocol: refused in its form.

A route for all of them would have every method, so that ``Allow`` and ``OPTIONS`` of the others were wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response, current_app, request

_NAME = "framemill.unrouted"


@dataclass(frozen=True)
class Owner:
    """A protocol and its paths."""

    #: Tells whether a path belongs to it.
    covers: Callable[[str], bool]
    #: Renders a status and a message.
    refuse: Callable[[int, str], Response]


def register(app: Flask, owner: Owner) -> None:
    """Refuse what is no route among the paths of a protocol as the protocol does."""
    app.extensions.setdefault(_NAME, []).append(owner)


def owner_of_request() -> Owner | None:
    """Return the owner of the current request if it has no route."""
    if request.url_rule is not None:
        return None
    owners: list[Owner] = current_app.extensions.get(_NAME, [])
    return next((owner for owner in owners if owner.covers(request.path)), None)
