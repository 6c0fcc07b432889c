"""How the fields of a job are stored: name in the Redis hash, codec and default of each field, stated once.

A dataclass field that is stored says so in its metadata::

    priority: int = field(default=0, metadata=stored("priority", INTEGER))

:func:`encode` writes such fields and :func:`decode` reads them. A field that equals its default is not written, and an
absent or empty hash field is read as the default.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from typing import Any

_STORED = "stored"


@dataclass(frozen=True)
class FieldCodec:
    """Converts the values of a field to and from the texts of a Redis hash."""

    encode: Callable[[Any], str | int | float]
    decode: Callable[[str], Any]


TEXT = FieldCodec(str, str)
INTEGER = FieldCodec(int, int)
#: Seconds as a decimal number.
SECONDS = FieldCodec(float, float)
#: Seconds, stored as whole milliseconds.
SECONDS_AS_MS = FieldCodec(lambda seconds: int(seconds * 1000), lambda text: int(text) / 1000)
JSON = FieldCodec(json.dumps, json.loads)
#: A flag that is stored when it is set.
IF_TRUE = FieldCodec(int, bool)
#: A flag that is stored when it is not set.
IF_FALSE = FieldCodec(lambda value: int(not value), lambda text: not text)


@dataclass(frozen=True)
class Stored:
    """The storage of one field."""

    #: Name in the hash.
    name: str
    codec: FieldCodec
    #: Whether it is written even if it equals its default.
    always: bool
    #: Whether a retry of the job has the same value.
    kept_by_retry: bool
    #: Whether callers set it, by the name of the attribute.
    set_by_caller: bool
    #: Its name in the job that callers are shown; '' for a field that is not shown, or not by its value alone.
    shown_as: str


def stored(
    name: str, codec: FieldCodec = TEXT, *, always: bool = False, kept_by_retry: bool = True,
    set_by_caller: bool = False, shown_as: str = "",
) -> Mapping[str, Stored]:  # fmt: skip
    """Return the metadata of a stored field; arguments as in :class:`Stored`."""
    return {_STORED: Stored(name, codec, always, kept_by_retry, set_by_caller, shown_as)}


def encode(values: Any) -> dict[str, str | int | float]:
    """Return the hash fields of a dataclass instance."""
    cls: Any = type(values)
    encoded = {}
    for attribute, storage, default in _table(cls):
        value = getattr(values, attribute)
        if storage.always or value != default:
            encoded[storage.name] = storage.codec.encode(value)
    return encoded


def decode(cls: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the constructor arguments of a dataclass that a hash holds."""
    decoders = _decoders(cls)
    return {decoders[name][0]: decoders[name][1](text) for name, text in texts.items() if text and name in decoders}


def shown(values: Any) -> dict[str, Any]:
    """Return the fields of a dataclass instance that callers are shown as they are, by the names they know."""
    fields_ = storage_of(type(values)).items()
    return {storage.shown_as: getattr(values, name) for name, storage in fields_ if storage.shown_as}


def storage_of(cls: Any) -> dict[str, Stored]:
    """Return the storage of every stored field of a dataclass, by attribute."""
    return {attribute: storage for attribute, storage, _ in _table(cls)}


def default_of(cls: Any, attribute: str) -> Any:
    """Return the default of a stored field."""
    return next(default for name, _, default in _table(cls) if name == attribute)


@cache
def _table(cls: Any) -> tuple[tuple[str, Stored, Any], ...]:
    """Attribute, storage and default of every stored field."""
    return tuple((one.name, one.metadata[_STORED], _default_of(one)) for one in fields(cls) if _STORED in one.metadata)


@cache
def _decoders(cls: Any) -> dict[str, tuple[str, Callable[[str], Any]]]:
    """Name in the hash → attribute and decoder."""
    return {storage.name: (attribute, storage.codec.decode) for attribute, storage, _ in _table(cls)}


def _default_of(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()
