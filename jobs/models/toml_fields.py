"""Marshmallow fields for configuration files: each accepts one TOML type, without conversion."""

from __future__ import annotations

from collections.abc import Callable, Collection
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
