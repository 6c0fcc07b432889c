"""Bodies of other servers: requests as fields of the native API, and lists. Several protocols have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from jobs.errors import InvalidRequest, Problem


@dataclass(frozen=True)
class MappedBody:
    """A request body as fields of the native API."""

    #: Field → value. ``image``, ``images``, ``mask`` and the images in ``mix``, ``controls`` and ``passed_images`` are
    #: as they were sent (base64, data URL or link).
    values: dict[str, Any]
    #: Requested features that are not supported.
    warnings: list[str] = field(default_factory=list)
    #: Field of the native API → field of this body, beside those that all bodies have in common.
    names: dict[str, str] = field(default_factory=dict)


def rename_fields(error: InvalidRequest, names: dict[str, str]) -> InvalidRequest:
    """Return the same error, of the same class, with the field names of the request body.

    Args:
        error: names fields of the native API.
        names: field of the native API → field of the body. The name of a list applies to its items.
    """
    return type(error)(*(Problem(_renamed(p.field, names), p.rule, p.value) for p in error.problems))


def _renamed(field: str, names: dict[str, str]) -> str:
    return names.get(field) or names.get(field.partition("[")[0], field)
