"""Numbers, texts, choices: a value as it was sent → the value a worker gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from app.protocols.aime.endpoints.spec import MEDIA, Input, Rule

ROLES = ("system", "user", "assistant")

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class Refused(ValueError):
    """A value that is not allowed; the text says why."""


def check(spec: Input, value: Any, *, as_text: bool = False) -> Any:
    """The value of a parameter that is no medium.

    Args:
        spec: what it may be.
        value: as sent.
        as_text: it came in a query string or a form, where everything is text.

    Raises:
        Refused.
    """
    return _CHECKS[spec.type](spec, value, as_text)


def fit_number(rule: Rule, value: Any, what: str = "") -> Any:
    """A number within its limits. Raises: Refused."""
    fitted = value
    if rule.supported and value not in rule.supported:
        fitted = rule.default if rule.default is not None else min(rule.supported, key=lambda one: abs(one - value))
    if rule.low is not None:
        fitted = max(fitted, rule.low)
    if rule.high is not None:
        fitted = min(fitted, rule.high)
    if rule.align:
        fitted = align_down(fitted, rule.align, rule.low)
    if fitted != value and not rule.convert:
        raise Refused(f"{what}must be {allowed(rule)}, not {value}")
    return fitted


def align_down(value: Any, step: Any, low: Any) -> Any:
    """The multiple of ``step`` at or below ``value``, but not below ``low``."""
    aligned = value // step * step
    return aligned if low is None or aligned >= low else -(-low // step) * step


def allowed(rule: Rule) -> str:
    """A rule in words."""
    parts = []
    if rule.supported:
        parts.append("one of " + ", ".join(str(one) for one in rule.supported))
    if rule.low is not None and rule.high is not None:
        parts.append(f"from {rule.low} to {rule.high}")
    elif rule.low is not None:
        parts.append(f"at least {rule.low}")
    elif rule.high is not None:
        parts.append(f"at most {rule.high}")
    if rule.align:
        parts.append(f"a multiple of {rule.align}")
    return " and ".join(parts)


def _text(spec: Input, value: Any, as_text: bool) -> str:
    if not isinstance(value, str):
        if not spec.rule.convert:
            raise Refused(f"must be a string, not {_type(value)}")
        value = str(value)
    if spec.max_length is not None and len(value) > spec.max_length:
        if not spec.rule.convert:
            raise Refused(f"must have at most {spec.max_length} characters, not {len(value)}")
        value = value[: spec.max_length]
    return value


def _number(spec: Input, value: Any, as_text: bool) -> Any:
    wanted = int if spec.type == "integer" else float
    if isinstance(value, bool) or not isinstance(value, int | float):
        if not (spec.rule.convert or (as_text and isinstance(value, str))):
            raise Refused(f"must be {_ARTICLES[spec.type]}, not {_type(value)}")
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise Refused(f"must be {_ARTICLES[spec.type]}, not {_type(value)}") from None
    try:
        value = wanted(value)
    except (ValueError, OverflowError):
        raise Refused("must be a finite number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise Refused("must be a finite number")
    return fit_number(spec.rule, value)


def _flag(spec: Input, value: Any, as_text: bool) -> bool:
    if isinstance(value, bool):
        return value
    if as_text or spec.rule.convert:
        word = str(value).strip().lower()
        if word in _WORDS:
            return _WORDS[word]
    raise Refused(f"must be true or false, not {_type(value)}")


def _choice(spec: Input, value: Any, as_text: bool) -> Any:
    for one in spec.rule.supported:
        if (type(one) is type(value) and one == value) or (as_text and str(one) == value):
            return one
    if spec.rule.convert:
        return spec.rule.supported[0] if spec.rule.default is None else spec.rule.default
    raise Refused(f"must be {allowed(spec.rule)}")


def _json(spec: Input, value: Any, as_text: bool) -> Any:
    if spec.max_length is not None and isinstance(value, str) and len(value) > spec.max_length:
        raise Refused(f"must have at most {spec.max_length} characters, not {len(value)}")
    if not isinstance(value, str):
        return value  # parsed already
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Refused("must be JSON") from None


def _chat(spec: Input, value: Any, as_text: bool) -> Any:
    messages = _json(spec, value, as_text)
    if not isinstance(messages, list):
        raise Refused("must be a JSON list of messages")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise Refused(f"message {number} must have a role out of {', '.join(ROLES)}")
        content = message.get("content")
        if isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise Refused(f"message {number} must have a text or a list of items as content")
        for item in content:
            found = [one for one in ("text", *sorted(MEDIA)) if isinstance(item, dict) and one in item]
            if len(found) != 1 or not isinstance(item[found[0]], str):
                raise Refused(f"message {number}: each item must have exactly one of text, image, audio, video")
            if found[0] != "text" and found[0] not in spec.items:
                raise Refused(f"message {number}: this endpoint takes no {found[0]} here")
    return messages


def _type(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


_ARTICLES = {"integer": "an integer", "float": "a number"}
_CHECKS: dict[str, Callable[[Input, Any, bool], Any]] = {
    "string": _text, "text_context": _text, "integer": _number, "float": _number, "bool": _flag, "selection": _choice,
    "json": _json, "chat_context": _chat,
}  # fmt: skip
