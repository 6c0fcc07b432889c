"""A Flask app with one route that answers a constant: the floor of what a request to Flask costs in our web server.

``bench/polls.py`` serves it with the project's ``gunicorn.conf.py``, so that gunicorn and its worker are the same.
"""

from __future__ import annotations

from types import SimpleNamespace

from flask import Flask, Response, jsonify

from jobs.settings import Settings

app = Flask("bare")
_store = SimpleNamespace(measures=SimpleNamespace(close=lambda: None))
app.extensions["framemill"] = SimpleNamespace(settings=Settings.from_env(), store=_store)  # for the worker


@app.get("/constant")
def constant() -> Response:
    """Answer a constant of the size of a small job."""
    return jsonify({"id": "0" * 24, "state": "queued", "position": 3, "links": {"self": "x" * 200}})
