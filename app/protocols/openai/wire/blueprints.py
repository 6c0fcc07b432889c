"""Blueprints whose operations have what all of this protocol have in common."""

from __future__ import annotations

from app.openapi.blueprint import OF_BODIES, Blueprint
from app.protocols.openai.wire import access, answers

TAG = "OpenAI"
#: Errors of operations with a body: a wrong field is 400 here.
_OF_BODIES = {400: "A field is wrong; `param` names it. Nothing was queued.", 413: OF_BODIES[413]}


def new_blueprint(name: str) -> Blueprint:
    """Return a blueprint of this protocol."""
    blueprint = Blueprint(
        name, __name__, tag=TAG, prefix="openai_", error=answers.OpenAIErrorAnswer, of_bodies=_OF_BODIES
    )
    access.protect(blueprint)
    return blueprint
