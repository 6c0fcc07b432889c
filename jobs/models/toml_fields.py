"""Marshmallow fields for configuration files: each accepts one TOML type; and the range that one of them loads."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from jobs.suggestions import did_you_mean

#: Stands for the rule that an unknown key breaks until its name is known.
_UNKNOWN = "unknown key"


def unknown_key(known: Collection[str], key: str = "") -> str:
    """Return the rule that an unknown key breaks, with the known key that is most like it."""
    return f"unknown key{did_you_mean(key, known) or ';'} known: {', '.join(sorted(known))}"


class TableSchema(Schema):
    """A table with a fixed set of keys."""

    class Meta:
        unknown = RAISE

    type_rule = "must be a table"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.error_messages |= {"unknown": _UNKNOWN, "type": self.type_rule}

    def handle_error(self, error: ValidationError, data: Any, **kwargs: Any) -> None:
        """Name the known key that is most like each unknown one."""
        known = [field.data_key or name for name, field in self.fields.items()]
        for key, rules in error.messages.items() if isinstance(error.messages, dict) else ():
            if rules == [_UNKNOWN]:
                error.messages[key] = [unknown_key(known, str(key))]


class TypedField(fields.Field[Any]):
    """A value of certain Python types. True and false do not count as numbers."""

    types: tuple[type, ...] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # A value that is missing or null breaks the same rule as a wrong one.
        self.error_messages |= dict.fromkeys(("required", "null"), self.error_messages["invalid"])

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, self.types) or (isinstance(value, bool) and bool not in self.types):
            raise self.make_error("invalid")
        return value


class StringField(TypedField):
    types = (str,)
    default_error_messages = {"invalid": "must be a string"}


class TextField(StringField):
    """A string that is not empty."""

    def __init__(self, **options: Any) -> None:
        super().__init__(validate=validate.Length(min=1, error="must not be empty"), **options)


class FlagField(TypedField):
    types = (bool,)
    default_error_messages = {"invalid": "must be true or false"}


class NumberField(TypedField):
    types = (int, float)
    default_error_messages = {"invalid": "must be a number"}


class SecondsField(NumberField):
    """A duration of more than 0 seconds, and less than a day."""

    def __init__(self, **options: Any) -> None:
        rule = "must be more than 0 and less than 86400 seconds"
        limits = validate.Range(min=0, max=86_400, min_inclusive=False, max_inclusive=False, error=rule)
        super().__init__(validate=limits, **options)


class IntegerField(TypedField):
    types = (int,)
    default_error_messages = {"invalid": "must be an integer"}


class CountField(IntegerField):
    """An integer of at least 1."""

    def __init__(self, **options: Any) -> None:
        super().__init__(validate=validate.Range(min=1, error="must be at least 1"), **options)


class ChoiceField(TypedField):
    """One of several strings."""

    types = (str,)

    def __init__(self, choices: Collection[str], **options: Any) -> None:
        self._choices = choices
        super().__init__(error_messages={"invalid": f"must be one of {', '.join(choices)}"}, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if text not in self._choices:
            raise self.make_error("invalid")
        return str(text)


class ListField(TypedField):
    """A list of strings that all pass a check; loaded as a tuple.

    ``content`` describes the items in the error, such as ``patterns of module names``.
    """

    types = (list,)

    def __init__(self, content: str, accepts: Callable[[str], bool] = bool, **options: Any) -> None:
        self._accepts = accepts
        super().__init__(error_messages={"invalid": f"must be a list of {content}"}, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[str, ...]:
        items = super()._deserialize(value, attr, data, **kwargs)
        if not all(isinstance(item, str) and self._accepts(item) for item in items):
            raise self.make_error("invalid")
        return tuple(items)


class TableField(TypedField):
    """A table with any keys. With ``value`` each value must pass this field.

    ``content`` describes the entries in the error, such as ``arguments of the pipeline's call``.
    """

    types = (dict,)

    def __init__(self, content: str, value: fields.Field[Any] | None = None, **options: Any) -> None:
        self._value = value
        super().__init__(error_messages={"invalid": f"must be a table of {content}"}, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        table: dict[str, Any] = super()._deserialize(value, attr, data, **kwargs)
        if self._value is None:
            return table
        loaded, errors = {}, {}
        for key, item in table.items():
            try:
                loaded[key] = self._value.deserialize(item, key, table)
            except ValidationError as exc:
                errors[key] = exc.messages
        if errors:
            raise ValidationError(errors)
        return loaded


@dataclass(frozen=True)
class Range:
    """A closed interval of allowed values."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        """Return the words that follow "must be" in a message."""
        low, high = _number(self.low), _number(self.high)
        return low if low == high else f"between {low} and {high}"

    def clamped(self, value: float) -> float:
        """Return the nearest value of the interval."""
        return min(max(value, self.low), self.high)

    def nearest(self, value: float, step: int, offset: int = 0) -> int:
        """Return the number ``step`` × n + ``offset`` inside the interval that is nearest to ``value``."""
        nearest = round((value - offset) / step) * step + offset
        if nearest > self.high:
            return int((self.high - offset) // step) * step + offset
        if nearest < self.low:
            return int(-((offset - self.low) // step)) * step + offset
        return nearest


def _number(value: float) -> str:
    """Return a bound exactly, without an exponent where it is a whole number."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class IntervalField(TypedField):
    """``[lowest, highest]``."""

    types = (list,)
    default_error_messages = {"invalid": "must be [lowest, highest]"}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Range:
        pair = super()._deserialize(value, attr, data, **kwargs)
        if len(pair) != 2 or not all(isinstance(n, int | float) and not isinstance(n, bool) for n in pair):
            raise self.make_error("invalid")
        if pair[0] > pair[1]:
            raise self.make_error("invalid")
        return Range(*pair)


class NamedTablesField(TableField):
    """A table of tables, whose names follow a rule.

    Args:
        content: the tables, in errors.
        table: schema of each.
        name: the rule of their names, and how errors say it.
        rule: see ``name``.
    """

    def __init__(self, content: str, table: type[Schema], name: re.Pattern[str], rule: str) -> None:
        super().__init__(f"{content} by name, each a table", fields.Nested(table))
        self._name, self._rule = name, rule

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> dict[str, Any]:
        tables = super()._deserialize(value, attr, data, **kwargs)
        if errors := {name: [self._rule] for name in tables if not self._name.fullmatch(name)}:
            raise ValidationError(errors)
        return tables
