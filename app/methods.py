"""Which methods a path has: the one place that makes 405, ``Allow`` and ``OPTIONS`` agree with the routes.

Two things differ from what Flask does by itself. A path that a route names in full belongs to this route alone:
``/v1/jobs/cancel`` is never the job ``cancel``. And a ``GET`` that changes something has no ``HEAD``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from flask import Flask, Response, request
from werkzeug.exceptions import MethodNotAllowed

_View = TypeVar("_View", bound=Callable[..., Any])


def changes_state(view: _View) -> _View:
    """Mark a view whose ``GET`` changes something, as clients of other servers expect."""
    view.changes_state = True  # type: ignore[attr-defined]
    return view


def allowed_response(methods: Iterable[str]) -> Response:
    """Return the response to ``OPTIONS``."""
    response = Response()
    response.allow.update(methods)
    return response


def register(app: Flask) -> None:
    """Check the method of every request to a path that a route names in full. All routes have been added."""
    methods: dict[str, set[str]] = {}
    for rule in app.url_map.iter_rules():
        if getattr(app.view_functions[rule.endpoint], "changes_state", False):
            (rule.methods or set()).discard("HEAD")
        if not rule.arguments:
            methods.setdefault(_plain(rule.rule), {"OPTIONS"}).update(rule.methods or ())

    @app.before_request
    def _check() -> Response | None:
        allowed = methods.get(_plain(request.path))
        if allowed is None:
            return None
        if request.method == "OPTIONS":
            return allowed_response(sorted(allowed))
        if request.method not in allowed:
            raise MethodNotAllowed(sorted(allowed))
        return None


def _plain(path: str) -> str:
    """Return a path without the slash at its end, with which it is the same."""
    return path.rstrip("/") or "/"
