"""Bodies of other servers' requests as fields of ours: what several protocols take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobs.errors import InvalidRequest, Problem


@dataclass(frozen=True)
class Wanted:
    """A job in our words."""

    #: Fields of the native API; ``image``, ``mask`` and images in ``mix`` as they were sent (base64, data URL, link).
    values: dict[str, Any]
    #: What was asked for and is not done.
    warnings: list[str] = field(default_factory=list)


def in_their_words(error: InvalidRequest, names: dict[str, str]) -> InvalidRequest:
    """The same error (of the same class) with the names that the sender knows the fields by."""
    problems = [Problem(names.get(p.field, p.field), p.rule, p.value) for p in error.problems]
    return type(error)(*problems)
