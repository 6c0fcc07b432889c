"""Models as OpenAI's API lists them."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from app.access import auth
from app.extensions import models, settings
from app.openapi.answers import Answer, doc


class ModelEntryAnswer(Answer):
    """A model, as OpenAI's API shows it."""

    id = fields.String(**doc("Its name, or the alias that was asked for."))
    object = fields.String(**doc("`model`."))
    created = fields.Integer(**doc("When the models file was changed, seconds since 1970."))
    owned_by = fields.String(**doc("`framemill`."))


def entry(name: str) -> dict[str, Any]:
    """Return the entry of a model under one of its names."""
    try:
        created_s = int(settings().paths.models_file.stat().st_mtime)
    except OSError:  # it has been read; only its date is missing
        created_s = 0
    return {"id": name, "object": "model", "created": created_s, "owned_by": "framemill"}


def all_entries() -> list[dict[str, Any]]:
    """Return the entries of the models that the caller may use."""
    allowed = auth.caller().models
    return [entry(name) for name in models().names() if not allowed or name in allowed]
