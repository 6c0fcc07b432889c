"""Adds the routes to an app."""

from __future__ import annotations

from app.openapi.document import Api
from app.protocols.openai.images import routes
from app.protocols.openai.videos import routes as video_routes


def register(api: Api) -> None:
    """Add the routes for images, models and videos."""
    api.register_blueprint(routes.blueprint)
    api.register_blueprint(video_routes.blueprint)
