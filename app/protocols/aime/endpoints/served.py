"""The endpoints of the current app."""

from __future__ import annotations

from app import extensions
from app.protocols.aime.endpoints.spec import Endpoints

#: Name of the endpoints among the adapters of the app.
ENDPOINTS = "aime.endpoints"


def endpoints() -> Endpoints:
    """Return the endpoints that the current app serves."""
    served: Endpoints = extensions.current().adapters[ENDPOINTS]
    return served
