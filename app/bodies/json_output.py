"""Writes the JSON bodies of responses."""

from __future__ import annotations

from typing import Any

from flask.json.provider import DefaultJSONProvider

from jobs import strict_json


class FiniteJSONProvider(DefaultJSONProvider):
    """Writes JSON that every client can read, in the order of its members: numbers that are not finite become null."""

    sort_keys = False

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        try:
            return super().dumps(obj, allow_nan=False, **kwargs)
        except ValueError:
            return super().dumps(strict_json.finite(obj), allow_nan=False, **kwargs)
