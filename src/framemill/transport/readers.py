"""What the responses of calls are read as."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from framemill.keys import Key

T = TypeVar("T")


def read_as(kind: Callable[..., T]) -> Callable[[Mapping[str, Any]], T]:
    """Return a function that reads a JSON object as a type of :mod:`framemill.responses`."""
    return lambda body: kind(**body)


def read_paused(body: Mapping[str, Any]) -> Sequence[str]:
    """Read the names of the paused slots."""
    return tuple(body["paused"])


def read_keys(body: Mapping[str, Any]) -> Sequence[Key]:
    """Read API keys."""
    return tuple(Key.from_dict(key) for key in body["keys"])
