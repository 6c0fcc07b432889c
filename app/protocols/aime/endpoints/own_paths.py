"""The paths of the server's other routes, which neither endpoints nor their pages can have."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Flask

#: Paths of this protocol that are not below the name of an endpoint.
SHARED = (
    "api/endpoints", "api/validate_key", "stream_progress", "worker_login", "worker_check_server_status",
    "worker_job_request", "worker_job_progress", "worker_job_result",
)  # fmt: skip


class OwnPaths:
    """The routes of an app at the moment.

    Args:
        app: has the routes of all other protocols; None: there are none.
    """

    def __init__(self, app: Flask | None = None) -> None:
        self._routes = app.url_map.bind("localhost") if app else None
        rules = app.url_map.iter_rules() if app else ()
        self._first_parts = {rule.rule.strip("/").partition("/")[0] for rule in rules}

    def has(self, path: str) -> bool:
        """Return whether a route serves a path, which is given without slashes at its ends."""
        spellings = (f"/{path}", f"/{path}/")  # the same to this server
        return path in SHARED or any(self._routes and self._routes.allowed_methods(each) for each in spellings)

    def names(self, below: Iterable[str]) -> list[str]:
        """Return the names that themselves or with one of these paths below them belong to a route."""
        candidates = {*self._first_parts, *(path.partition("/")[0] for path in SHARED)}
        below = tuple(below)
        return sorted(
            name for name in candidates if name and any(self.has(f"{name}/{part}".rstrip("/")) for part in below)
        )
