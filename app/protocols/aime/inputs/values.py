"""Check and convert the values of inputs that are not media: numbers, texts, choices, JSON and chats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.protocols.aime.endpoints.spec import MEDIA, Input, Rule
from jobs import strict_json
from jobs.errors import InvalidRequest
from jobs.strict_json import Limits, is_text

ROLES = ("system", "user", "assistant")
#: Longest text of an input whose file names no ``max_length``, characters.
MAX_TEXT_CHARS = 1_000_000
#: Most messages of a chat, and most images, sounds and videos in it.
MAX_MESSAGES, MAX_CHAT_MEDIA = 2000, 64
#: JSON as text, in a query or a form.
_JSON_LIMITS = Limits(total_bytes=4 * MAX_TEXT_CHARS, text_bytes=4 * MAX_TEXT_CHARS)

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class BadValue(ValueError):
    """A value is not allowed; the message states the rule."""


def check_value(spec: Input, value: Any, *, as_text: bool = False) -> Any:
    """Return the value as a worker receives it.

    Args:
        spec: the input; its type is none of the media.
        value: as the caller sent it.
        as_text: the value is from a query string or a form, where everything is text.

    Raises:
        BadValue: it is not allowed, and the input does not convert values.
    """
    return _CHECKS[spec.type](spec, value, as_text)


def fit_number(rule: Rule, value: Any, what: str = "") -> Any:
    """Return a number within its limits. Raises: BadValue: it would change, and the rule does not convert."""
    fitted = value
    if rule.supported and value not in rule.supported:
        nearest = min(rule.supported, key=lambda allowed: abs(allowed - value))
        fitted = rule.default if rule.default is not None else nearest
    if rule.low is not None:
        fitted = max(fitted, rule.low)
    if rule.high is not None:
        fitted = min(fitted, rule.high)
    if rule.align:
        fitted = align_down(fitted, rule.align, rule.low)
    if fitted != value and not rule.convert:
        raise BadValue(f"{what}must be {describe(rule)}, not {value}")
    return fitted


def align_down(value: Any, step: Any, low: Any) -> Any:
    """Return the largest multiple of ``step`` up to ``value``; below ``low``, the smallest multiple from ``low`` on."""
    aligned = value // step * step
    return aligned if low is None or aligned >= low else -(-low // step) * step


def describe(rule: Rule) -> str:
    """Return a rule as text."""
    parts = []
    if rule.supported:
        parts.append("one of " + ", ".join(str(value) for value in rule.supported))
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
            raise BadValue(f"must be a string, not {_type(value)}")
        value = str(value)
    if not is_text(value):
        raise BadValue("must not contain NUL or lone surrogates")
    max_chars = MAX_TEXT_CHARS if spec.max_length is None else spec.max_length
    if len(value) > max_chars:
        if not spec.rule.convert:
            raise BadValue(f"must have at most {max_chars} characters, not {len(value)}")
        value = value[:max_chars]
    return value


def _number(spec: Input, value: Any, as_text: bool) -> Any:
    convert = int if spec.type == "integer" else float
    if isinstance(value, bool) or not isinstance(value, int | float):
        if not (spec.rule.convert or (as_text and isinstance(value, str))):
            raise BadValue(f"must be {_ARTICLES[spec.type]}, not {_type(value)}")
        try:
            value = float(value)
        except (TypeError, ValueError):
            raise BadValue(f"must be {_ARTICLES[spec.type]}, not {_type(value)}") from None
    try:
        value = convert(value)
    except (ValueError, OverflowError):
        raise BadValue("must be a finite number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise BadValue("must be a finite number")
    return fit_number(spec.rule, value)


def _flag(spec: Input, value: Any, as_text: bool) -> bool:
    if isinstance(value, bool):
        return value
    if as_text or spec.rule.convert:
        word = str(value).strip().lower()
        if word in _WORDS:
            return _WORDS[word]
    raise BadValue(f"must be true or false, not {_type(value)}")


def _choice(spec: Input, value: Any, as_text: bool) -> Any:
    for choice in spec.rule.supported:
        if (type(choice) is type(value) and choice == value) or (as_text and str(choice) == value):
            return choice
    if spec.rule.convert:
        return spec.rule.supported[0] if spec.rule.default is None else spec.rule.default
    raise BadValue(f"must be {describe(spec.rule)}")


def _json(spec: Input, value: Any, as_text: bool) -> Any:
    if spec.max_length is not None and isinstance(value, str) and len(value) > spec.max_length:
        raise BadValue(f"must have at most {spec.max_length} characters, not {len(value)}")
    if not isinstance(value, str):
        return value  # already parsed
    try:
        return strict_json.loads(value, _JSON_LIMITS)
    except InvalidRequest as exc:
        problem = exc.problems[0]
        where = "" if problem.field == "body" else f"{problem.field}: "
        raise BadValue(where + problem.rule) from None


def _chat(spec: Input, value: Any, as_text: bool) -> Any:
    messages = _json(spec, value, as_text)
    if not isinstance(messages, list):
        raise BadValue("must be a JSON list of messages")
    if len(messages) > MAX_MESSAGES:
        raise BadValue(f"must have at most {MAX_MESSAGES} messages, not {len(messages)}")
    number_of_media = 0
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise BadValue(f"message {number} must have a role out of {', '.join(ROLES)}")
        content = message.get("content")
        if isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise BadValue(f"message {number} must have a text or a list of items as content")
        for item in content:
            _check_chat_item(spec, number, item)
            number_of_media += "text" not in item
    if number_of_media > MAX_CHAT_MEDIA:
        raise BadValue(f"must have at most {MAX_CHAT_MEDIA} images, sounds and videos, not {number_of_media}")
    return messages


def _check_chat_item(spec: Input, number: int, item: Any) -> None:
    kinds = [kind for kind in ("text", *sorted(MEDIA)) if isinstance(item, dict) and kind in item]
    if len(kinds) != 1 or not isinstance(item[kinds[0]], str):
        raise BadValue(f"message {number}: each item must have exactly one of text, image, audio, video")
    if kinds[0] != "text" and kinds[0] not in spec.items:
        raise BadValue(f"message {number}: this endpoint takes no {kinds[0]} here")


def _type(value: Any) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "null")


_ARTICLES = {"integer": "an integer", "float": "a number"}
_CHECKS: dict[str, Callable[[Input, Any, bool], Any]] = {
    "string": _text, "text_context": _text, "integer": _number, "float": _number, "bool": _flag, "selection": _choice,
    "json": _json, "chat_context": _chat,
}  # fmt: skip
