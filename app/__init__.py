"""The API process: a Flask app without torch. ``gunicorn 'app:create_app()'`` serves it."""

from app.factory import __version__, create_app

__all__ = ["__version__", "create_app"]
