"""One option: a field of a group that is read from one environment variable."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any

import marshmallow
from marshmallow import ValidationError, validate

from jobs.errors import BadSetting

PROJECT_ROOT = Path(__file__).resolve().parents[2]

#: Checks a parsed value. Raises: marshmallow.ValidationError, whose message completes "NAME must …".
Check = Callable[[Any], Any]

_PARSERS: dict[str, tuple[type[marshmallow.fields.Field[Any]], str]] = {
    "int": (marshmallow.fields.Integer, "be a whole number"),
    "float": (marshmallow.fields.Float, "be a number"),
    "bool": (marshmallow.fields.Boolean, "be 1 or 0"),
}


def option(variable: str, default: Any, check: Check | None = None, *, secret: bool = False) -> Any:
    """A field of a group.

    Args:
        variable: the environment variable.
        default: the value when the variable is unset or empty.
        check: an additional rule; numbers must be finite and not negative anyway.
        secret: keep the value out of ``repr()``.
    """
    return field(default=default, repr=not secret, metadata={"variable": variable, "check": check})


def one_of(*choices: str) -> Check:
    """The value is one of these."""
    named = [choice for choice in choices if choice]
    text = f"{', '.join(named[:-1])} or {named[-1]}" if len(named) > 1 else named[0]
    return validate.OneOf(choices, error=f"be {text} (got {{input}})")


def between(least: float, most: float) -> Check:
    """The number is in this range."""
    return validate.Range(least, most, error="be between {min} and {max} (got {input})")


def matching(pattern: str, rule: str) -> Check:
    """The whole text matches ``pattern``; ``rule`` completes "must …"."""
    return validate.Regexp(rf"(?:{pattern})\Z", error=rule)


def at_least(least: int, why: str) -> Check:
    """The number is not below this."""
    return validate.Range(least, error=f"be at least {least}, {why} (got {{input}})")


def more_than_0(value: float) -> None:
    """The number is more than 0. Raises: ValidationError."""
    if value <= 0:
        raise ValidationError(f"be more than 0 (got {value:g})")


@dataclass(frozen=True, kw_only=True)
class Group:
    """Base of all groups: every value is checked when a group is made. Raises: BadSetting."""

    def __post_init__(self) -> None:
        for variable, each in options_of(type(self)).items():
            _check(variable, getattr(self, each.name), each.metadata["check"])


def options_of(group: type[Any]) -> dict[str, Field[Any]]:
    """The options of a group by their variables."""
    return {each.metadata["variable"]: each for each in fields(group) if "variable" in each.metadata}


def read_group(group: type[Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """The values that ``environ`` sets, by field name. Raises: BadSetting: names the variable and the rule."""
    values: dict[str, Any] = {}
    for variable, each in options_of(group).items():
        text = environ.get(variable, "").strip()
        if text:
            values[each.name] = _parse(variable, str(each.type), text)
    return values


def _check(variable: str, value: Any, check: Check | None) -> None:
    if isinstance(value, int | float) and value < 0:
        raise BadSetting(f"{variable} must not be negative (got {value})")
    if isinstance(value, float) and not math.isfinite(value):
        raise BadSetting(f"{variable} must be a finite number (got {value})")
    if check is not None:
        try:
            check(value)
        except ValidationError as exc:
            raise BadSetting(f"{variable} must {exc.messages[0]}") from None


def _parse(variable: str, type_name: str, text: str) -> Any:
    if type_name in ("Path", "Path | None"):
        return PROJECT_ROOT / text  # an absolute path stays as it is
    if type_name not in _PARSERS:
        return text
    parser, rule = _PARSERS[type_name]
    try:
        return parser().deserialize(text)
    except ValidationError:
        raise BadSetting(f"{variable} must {rule} (got {text!r})") from None
