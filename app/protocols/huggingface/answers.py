"""Schemas of the responses."""

from __future__ import annotations

from marshmallow import fields

from app.openapi.answers import Answer, doc


class HuggingFaceErrorAnswer(Answer):
    """An error."""

    error = fields.String(**doc("What is wrong, the rule, and what to do."))
    error_type = fields.String(**doc("Stable name of the error, for programs."))
    estimated_time = fields.Float(**doc("Seconds: a guess. Only if no slot can run the model now.", optional=True))
