"""Reads and checks the fields of a request, in any protocol: JSON bodies, forms, and the types of fields."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar
from copy import copy
from itertools import islice
from typing import Any

from flask import Request, g, has_request_context
from marshmallow import Schema, ValidationError, fields, missing, validate

from app.bodies.body_stream import Digest
from app.bodies.fields_body import read_fields
from app.extensions import settings
from jobs import strict_json
from jobs.errors import InvalidRequest, Problem
from jobs.strict_json import Limits
from jobs.suggestions import misspelt

#: Rule in marshmallow's words → the same rule as a predicate of the field.
_MARSHMALLOW_RULES = {
    "Missing data for required field": "is required",
    "Field may not be null": "must not be null",
    "Unknown field": "is unknown",
    "Invalid input type": "must be an object",
    "Not a valid boolean": "must be true or false",
}
#: Longest text of a field, characters; models have lower limits for prompts.
MAX_TEXT_CHARS = 100_000
#: Most unknown fields that are named.
_MAX_UNKNOWN = 20
#: Most problems of one request that are named.
_MAX_PROBLEMS = 50
#: Limits of JSON that a field contains as text; the form has its own.
_JSON_IN_TEXT = Limits(2**22, 2**22)
#: At most as many digits as a number of the API can have.
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}(?:\.0{0,20})?")
_NUMBER = re.compile(
    r"[+-]?([0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})(e[+-]?[0-9]{1,4})?|[+-]?(inf|infinity)|nan", re.IGNORECASE
)
#: Floats from here on are far beyond every whole number of the API.
_MAX_FLOAT = 1e20
#: Whether numbers and flags may be texts in what is being checked.
_may_be_text: ContextVar[bool] = ContextVar("may_be_text", default=True)


class Text(fields.String):
    """A string that can be stored: not too long, without lone surrogates and NUL."""

    default_error_messages = {"invalid": "must be text", "unstorable": "must not contain NUL or lone surrogates"}
    #: Longest text, characters; None: only the body is limited.
    max_chars: int | None = MAX_TEXT_CHARS

    def __init__(self, **kwargs: Any) -> None:
        if self.max_chars is not None:
            bound = validate.Length(max=self.max_chars, error="must have at most {max} characters")
            kwargs["validate"] = [bound, *_listed(kwargs.get("validate"))]
        super().__init__(**kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if not strict_json.is_text(text):
            raise self.make_error("unstorable")
        return text


class PictureText(Text):
    """A picture as text: base64, a data URL or a link. ``MAX_INPUT_BYTES`` limits it when it is decoded."""

    max_chars = None


class Items(fields.List):
    """A list of at most ``longest`` items."""

    default_error_messages = {"invalid": "must be a list"}

    def __init__(self, item: fields.Field[Any], longest: int, **kwargs: Any) -> None:
        bound = validate.Length(max=longest, error="must have at most {max} items")
        super().__init__(item, validate=[bound, *_listed(kwargs.pop("validate", None))], **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        for validator in self.validators if isinstance(value, list) else ():
            validator(value)  # before the items are looked at
        items: list[Any] = super()._deserialize(value, attr, data, **kwargs)
        return items


def _listed(validators: Any) -> list[Any]:
    if validators is None:
        return []
    return list(validators) if isinstance(validators, list | tuple) else [validators]


class TextSchema(Schema):
    """Fields whose numbers and flags may be texts, as in a form or a query; some clients do so in JSON, too."""


class Whole(fields.Integer):
    """A whole number, also with a point and zeros. A boolean is not a number."""

    default_error_messages = {"invalid": "must be a whole number", "too_large": "is too large"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(strict=True, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        if isinstance(value, str) and _may_be_text.get() and _WHOLE.fullmatch(value.strip()):
            value = int(value.strip().partition(".")[0])
        elif isinstance(value, str):
            raise self.make_error("invalid", input=value)
        elif isinstance(value, float) and value.is_integer() and abs(value) < _MAX_FLOAT:
            value = int(value)  # 128.0 is what JavaScript and Lua make of 128
        return super()._deserialize(value, attr, data, **kwargs)


class Number(fields.Float):
    """A finite number."""

    default_error_messages = {"invalid": "must be a number", "special": "must be a finite number"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or (isinstance(value, str) and not _is_number(value)):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


def _is_number(text: str) -> bool:
    """Return whether a text may stand for a number; infinities are refused as numbers."""
    return _may_be_text.get() and _NUMBER.fullmatch(text.strip()) is not None


class Flag(fields.Boolean):
    """True or false."""

    default_error_messages = {"invalid": "must be true or false"}
    truthy, falsy = {"true", "1", "yes", "on", "t", "y"}, {"false", "0", "no", "off", "f", "n"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if isinstance(value, bool):
            return value
        if _may_be_text.get() and (isinstance(value, str) or value in (0, 1)):
            return super()._deserialize(str(value).strip().lower(), attr, data, **kwargs)
        raise self.make_error("invalid", input=value)


def body_of(
    request: Request, digest: Digest | None = None, repeated: Collection[str] = ()
) -> dict[str, Any]:  # fmt: skip
    """Return the fields of a JSON body or of a form. An uploaded file is bytes under its name.

    The body is read once; further calls for the same request return the same fields.

    Args:
        request: the current request.
        digest: is updated with the bytes of the body.
        repeated: names of which all fields of a form count, as lists; other fields may be named once.

    Raises:
        MalformedBody: the body is not a JSON object or a form, or too large.
    """
    if "body" not in g:
        g.body, g.body_is_form = read_fields(request, settings().web.body_limits, digest, repeated)
    fields: dict[str, Any] = g.body
    return fields


def query_of(request: Request) -> dict[str, str]:
    """Return the parameters of a query. As in forms, the first of equal names counts, and a blank one is left out."""
    return {name: value for name, value in request.args.items() if value.strip()}


def _is_typed() -> bool:
    """Return whether the current request has JSON of the native API, whose numbers and flags are no texts."""
    return has_request_context() and not g.get("body_is_form", False)


def parsed(text: str) -> Any:
    """Return the value of JSON that a field contains as text, as in a form. Raises: InvalidRequest."""
    return strict_json.loads(text, _JSON_IN_TEXT)


def load(schema: Schema, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Check the fields of a request. Numbers and flags may be texts in forms and in a :class:`TextSchema`.

    Returns:
        The known fields, and the names of unknown ones.

    Raises:
        InvalidRequest: names every wrong field and the rule that it broke.
    """
    values, unknown, problems = load_all(schema, body)
    if problems:
        raise InvalidRequest(*problems)
    return values, unknown


def load_all(schema: Schema, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str], list[Problem]]:
    """As :func:`load`, but return what is wrong, so that it is reported with what else is.

    Returns:
        The known fields that are right (of lists and objects, their right parts), the names of unknown ones, and a
        problem for each rule that is broken.
    """
    may_be_text = isinstance(schema, TextSchema) or not _is_typed()
    token = _may_be_text.set(may_be_text)
    if may_be_text:
        body = {name: value for name, value in body.items() if not _is_left_out(schema.fields.get(name), value)}
    problems: list[Problem] = []
    try:
        values: dict[str, Any] = _of_sent_fields(schema, body).load(dict(body))
    except ValidationError as exc:
        rules = islice(_rules("", exc.normalized_messages()), _MAX_PROBLEMS)
        problems = [Problem(name, _with_hint(schema, name, rule), body.get(name)) for name, rule in rules]
        values = exc.valid_data if isinstance(exc.valid_data, dict) else {}
    finally:
        _may_be_text.reset(token)
    unknown = sorted(str(name)[:80] for name in values.keys() - schema.fields.keys())
    if len(unknown) > _MAX_UNKNOWN:
        unknown = [*unknown[:_MAX_UNKNOWN], f"and {len(unknown) - _MAX_UNKNOWN} more"]
    return {name: value for name, value in values.items() if name in schema.fields}, unknown, problems


def _of_sent_fields(schema: Schema, body: Mapping[str, Any]) -> Schema:
    """Return the schema without the fields that a body may lack and does: marshmallow takes a while for each."""
    reduced = copy(schema)
    reduced.load_fields = {
        name: field
        for name, field in schema.load_fields.items()
        if (field.data_key or name) in body or field.required or field.load_default is not missing
    }
    return reduced


def _with_hint(schema: Schema, name: str, rule: str) -> str:
    """Return the rule, for an unknown part of an object with the known part that was probably meant."""
    root, _, part = name.rpartition(".")
    field = schema.fields.get(root.partition("[")[0])
    inner = getattr(field, "inner", field)
    if rule != "is unknown" or not isinstance(inner, fields.Nested):
        return rule
    match = misspelt(part, inner.schema.fields)
    return f"{rule}; did you mean {match}?" if match else rule


def _is_left_out(field: fields.Field[Any] | None, value: Any) -> bool:
    """Return whether a value is a blank text where a number or a flag belongs."""
    return isinstance(field, Whole | Number | Flag) and isinstance(value, str) and not value.strip()


def _rules(name: str, rules: Any) -> Iterator[tuple[str, str]]:
    """Yield names like ``mix[0].weight``, each with the rules that it broke."""
    if not isinstance(rules, Mapping):
        texts = [str(rule).rstrip(".") for rule in (rules if isinstance(rules, list) else [rules])]
        yield name, "; ".join(_MARSHMALLOW_RULES.get(text, text) for text in texts)
        return
    for key, inner in rules.items():
        if isinstance(key, int):
            yield from _rules(f"{name}[{key}]", inner)
        else:
            yield from _rules(name if key == "_schema" else f"{name}.{key}".lstrip("."), inner)
