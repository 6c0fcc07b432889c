"""Check the inputs of a request; every problem is reported before anything is queued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.protocols.aime.endpoints.spec import IMPLICIT, MEDIA, Endpoint, Endpoints, Input
from app.protocols.aime.inputs.media import data_uri, decode_media
from app.protocols.aime.inputs.values import BadValue, check_value
from jobs.settings import Settings
from jobs.suggestions import listed

#: Types of inputs for which clients and files write an empty text if there is no value.
_NEVER_EMPTY = MEDIA | {"json", "chat_context"}


class BadInputs(Exception):
    """A request is not valid; one text for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass
class CheckedInputs:
    """The valid inputs of a request."""

    params: dict[str, Any] = field(default_factory=dict)
    #: Input name → content and media type.
    media: dict[str, tuple[bytes, str]] = field(default_factory=dict)


def check_inputs(
    endpoint: Endpoint, endpoints: Endpoints, fields: Mapping[str, Any], settings: Settings, *, as_text: bool
) -> CheckedInputs:
    """Check the fields of a request, fill in defaults and convert values.

    Args:
        endpoint: declares the inputs.
        endpoints: holds the formats that the server accepts.
        fields: the fields of the request, the implicit ones included.
        settings: the limits of input files.
        as_text: the fields are from a query string or a form.

    Raises:
        BadInputs: names every problem.
    """
    checked = CheckedInputs()
    problems = _unknown_fields(endpoint, fields)
    for name, spec in endpoint.inputs.items():
        is_given = _is_given(spec, fields.get(name), as_text=as_text)
        value = fields[name] if is_given else spec.default
        if spec.required and not is_given:  # a default does not stand in for a required value
            problems.append(f"{name}: is required")
            continue
        if not _is_given(spec, value):
            continue
        try:
            if spec.type in MEDIA:
                checked.media[name] = decode_media(spec, value, endpoints, settings)
            else:
                checked.params[name] = check_value(spec, value, as_text=as_text)
                if spec.type == "chat_context":
                    _convert_chat_media(spec, checked.params[name], endpoints, settings)
        except BadValue as exc:
            problems.append(f"{name}: {exc}")
    problems += _exclusive_inputs(endpoint, checked)
    if problems:
        raise BadInputs(problems)
    return checked


def _is_given(spec: Input, value: Any, *, as_text: bool = False) -> bool:
    """Return whether a value counts as sent: an empty text does only where it can be the value itself."""
    return value is not None and not (value == "" and (as_text or spec.type in _NEVER_EMPTY))


def _unknown_fields(endpoint: Endpoint, fields: Mapping[str, Any]) -> list[str]:
    return [
        f"{str(name)[:80]}: unknown parameter; known: {listed(endpoint.inputs, str(name)) or 'none'}"
        for name in fields
        if name not in endpoint.inputs and name not in IMPLICIT
    ]


def _exclusive_inputs(endpoint: Endpoint, checked: CheckedInputs) -> list[str]:
    """Return the problems of a request with both a chat context and a text context."""
    given = {name: spec.type for name, spec in endpoint.inputs.items() if checked.params.get(name)}
    chats = [name for name, kind in given.items() if kind == "chat_context"]
    texts = [name for name, kind in given.items() if kind == "text_context"]
    return [f"{name}: cannot be given together with {chats[0]}" for name in texts] if chats else []


def _convert_chat_media(
    spec: Input, messages: list[dict[str, Any]], endpoints: Endpoints, settings: Settings
) -> None:  # fmt: skip
    """Convert the media within a chat, in place."""
    for message in messages:
        for item in message["content"] if isinstance(message["content"], list) else ():
            for kind in MEDIA & item.keys():
                content, media_type = decode_media(spec.items[kind], item[kind], endpoints, settings)
                item[kind] = data_uri(content, media_type)
