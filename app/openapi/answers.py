"""Parts of the schemas of response bodies. The schemas describe; the views build the bodies themselves."""

from __future__ import annotations

from typing import Any

from marshmallow import INCLUDE, Schema, fields

#: Content of a response of server-sent events.
EVENT_STREAM = "text/event-stream"
#: Its schema. It has no type: some clients read the whole stream as one text, others each event as an object.
EVENTS: dict[str, Any] = {
    "description": "Events with `id` (what `Last-Event-ID` continues from), `event` and `data` (JSON).",
}
#: Schemas of bodies that are no JSON objects.
TEXT: dict[str, Any] = {"type": "string"}
NOTHING: dict[str, Any] = {"type": "null"}
EMPTY: dict[str, Any] = {"type": "object", "maxProperties": 0}
ANY_OBJECT: dict[str, Any] = {"type": "object"}


def doc(text: str = "", *, null: bool = False, optional: bool = False, **more: Any) -> dict[str, Any]:
    """Return the arguments of a field of a response.

    Args:
        text: what it means.
        null: whether it can be null.
        optional: whether it can be absent.
        more: further keywords of the JSON schema.
    """
    described = {"description": text} if text else {}
    return {"allow_none": null, "required": not optional, "metadata": {**described, **more}}


def texts(text: str = "", **options: Any) -> fields.List:
    """Return a field with a list of texts."""
    return fields.List(fields.String(), **doc(text, **options))


def numbers_by_name(text: str = "", **options: Any) -> fields.Dict:
    """Return a field with an object whose values are whole numbers."""
    return fields.Dict(keys=fields.String(), values=fields.Integer(), **doc(text, **options))


def time_of(text: str = "", **options: Any) -> fields.String:
    """Return a field with a moment as ISO 8601 in UTC; null until it has happened."""
    return fields.String(**doc(text, null=True, format="date-time", **options))


class Answer(Schema):
    """A JSON object with these fields and no others."""


class OpenAnswer(Answer):
    """A JSON object with these fields and further ones."""

    class Meta:
        unknown = INCLUDE


class ProblemAnswer(Answer):
    """A refused field."""

    field = fields.String(**doc("Its name, such as `steps` or `mix[0].weight`."))
    rule = fields.String(**doc("The rule that it breaks."))
    value = fields.Raw(**doc("What was sent; long texts are cut.", null=True))


class ErrorDetails(Answer):
    """What went wrong."""

    code = fields.String(**doc("Stable name of the error, for programs.", example="invalid_request"))
    message = fields.String(**doc("What is wrong, the rule, and what to do."))
    problems = fields.List(fields.Nested(ProblemAnswer), **doc("Every refused field."), data_key="fields")


class ErrorAnswer(Answer):
    """An error of the native API and of every route that is not part of another protocol."""

    detail = fields.String(**doc("Repeats the message."))
    error = fields.Nested(ErrorDetails, **doc())
