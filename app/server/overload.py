"""Refuses requests while too many others are being answered, except probes."""

from __future__ import annotations

from flask import Flask, request

from jobs.errors import Overloaded

#: Key of the WSGI environment: whether this request is beyond the limit of its process.
IS_BEYOND_LIMIT = "framemill.is_beyond_limit"
#: Blueprint of the routes that are always answered.
_PROBES = "health"


def register(app: Flask) -> None:
    """Check each request before anything else is done for it."""

    @app.before_request
    def _refuse() -> None:
        if request.environ.get(IS_BEYOND_LIMIT) and request.blueprint != _PROBES:
            raise Overloaded("this server answers as many requests as it may (MAX_CONNECTIONS); try again")
