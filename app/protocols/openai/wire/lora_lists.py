"""The field ``loras``, in the forms in which clients of such servers send it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields

from app.fields import parsed
from jobs.errors import InvalidRequest
from jobs.requests.schedulers_loras_mix import MAX_LORAS
from jobs.strict_json import is_text

#: Names of a LoRA's weight.
_WEIGHTS = ("weight", "scale", "strength")
_LIST = "loras[]"
#: Fields of a form in which the SDK sends the parts of a list of objects, one after the other.
REPEATED_FIELDS = (_LIST, *(f"{_LIST}[{part}]" for part in ("name", *_WEIGHTS)))
#: A part of an object in a form.
_PART = re.compile(r"(loras?)\[([^\[\]]+)\]")


def gathered(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a form, with the parts of LoRAs as one field.

    ``loras[][name]`` and ``loras[][weight]`` belong to each other in their order. If one of them is missing somewhere,
    nobody can tell where, so the list is not valid.
    """
    fields, parts = dict(body), dict[str, Any]()
    columns = {name: fields.pop(name) for name in REPEATED_FIELDS if isinstance(fields.get(name), list)}
    if names := columns.pop(_LIST, None):
        parts["loras"] = names
    elif columns:
        is_complete = len({len(values) for values in columns.values()}) == 1
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]
        whole = [{name[len(_LIST) + 1 : -1]: value for name, value in row.items()} for row in rows]
        parts["loras"] = whole if is_complete else [None]
    for name in body:
        if match := _PART.fullmatch(name):
            parts.setdefault(match[1], {})[match[2]] = fields.pop(name)
    return {**fields, **parts}


class Loras(fields.Raw):
    """LoRAs: a name, an object with ``name`` and ``weight``, a list of these, or an object of names and weights.

    In a form, this is JSON as text, or one name.
    """

    default_error_messages = {
        "invalid": "must be names, objects with name and weight, or an object of names and weights",
        "too_many": f"must have at most {MAX_LORAS} entries",
    }

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        if isinstance(value, str) and value.lstrip().startswith(("[", "{")):
            try:
                value = parsed(value)
            except InvalidRequest:
                raise self.make_error("invalid") from None
        if isinstance(value, Mapping) and "name" not in value:
            value = [{"name": name, "weight": weight} for name, weight in value.items()]
        entries = value if isinstance(value, list) else [value]
        if len(entries) > MAX_LORAS:
            raise self.make_error("too_many")
        return [self._entry(entry) for entry in entries]

    def _entry(self, value: Any) -> dict[str, Any]:
        entry = {"name": value} if isinstance(value, str) else value
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str) or not is_text(entry["name"]):
            raise self.make_error("invalid")
        weight = next((entry[name] for name in _WEIGHTS if entry.get(name) is not None), None)
        try:
            number = None if weight is None else fields.Float().deserialize(weight)
        except ValidationError:
            raise self.make_error("invalid") from None
        if isinstance(weight, bool):
            raise self.make_error("invalid")
        return {"name": entry["name"], "weight": number}
