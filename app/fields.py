"""Reading what a caller sent, in any protocol: body or form, and the types of fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Request
from marshmallow import Schema, ValidationError, fields
from werkzeug.exceptions import BadRequest

from jobs.errors import InvalidRequest, MalformedBody, Problem

#: Not more digits than a number of the API can have.
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")


class Text(fields.String):
    """A string that can be stored: no lone surrogates, no NUL."""

    default_error_messages = {"invalid": "must be text", "unstorable": "must not contain NUL or lone surrogates"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if "\0" in text or not _is_utf8(text):
            raise self.make_error("unstorable")
        return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Whole(fields.Integer):
    """A whole number, also as text in a form; true and false are none."""

    default_error_messages = {"invalid": "must be a whole number", "too_large": "is too large"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strict=True, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            value = int(value)  # a form sends text
        return super()._deserialize(value, attr, data, **kwargs)


class Number(fields.Float):
    """A finite number, also as text in a form."""

    default_error_messages = {"invalid": "must be a number", "special": "must be a finite number"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


def body_of(request: Request) -> dict[str, Any]:
    """The fields of a JSON body or of a form; an uploaded file is bytes under its name.

    Raises:
        MalformedBody: no JSON object.
    """
    if request.mimetype in ("multipart/form-data", "application/x-www-form-urlencoded"):
        files = {name: file.read() for name, file in request.files.items() if file.filename}
        return {**request.form.to_dict(), **files}
    try:
        body = request.get_json(force=True, silent=False) if request.get_data(cache=True) else {}
    except (BadRequest, RecursionError) as exc:
        raise MalformedBody(Problem("body", "must be JSON")) from exc
    if not isinstance(body, dict):
        raise MalformedBody(Problem("body", "must be a JSON object"))
    return body


def load(schema: Schema, sent: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Check what was sent.

    Returns:
        The known fields, and the names of unknown ones.

    Raises:
        InvalidRequest: naming every field and its rule.
    """
    try:
        values: dict[str, Any] = schema.load(dict(sent))
    except ValidationError as exc:
        problems = [Problem(name, _rule(rules), sent.get(name)) for name, rules in exc.normalized_messages().items()]
        raise InvalidRequest(*problems) from exc
    unknown = sorted(str(name)[:80] for name in values.keys() - schema.fields.keys())
    return {name: value for name, value in values.items() if name in schema.fields}, unknown


def _rule(rules: Any) -> str:
    text = "; ".join(str(rule) for rule in rules) if isinstance(rules, list) else str(rules)
    return text.rstrip(".")
