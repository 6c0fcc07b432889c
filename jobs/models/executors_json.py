"""Devoid Generator's ``data/executors.json``: a list of servers, read as tables of the back ends file.

Each entry has ``name``, ``exec_type`` and ``endpoint``, and may have ``timeout`` (longest run, seconds), ``gpu`` and
``model``. The last two are comments for people and are only logged.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from jobs.errors import BadSetting
from jobs.models.toml_fields import ChoiceField, SecondsField, StringField, TableSchema
from jobs.process.toml_lines import broken_rules
from jobs.slots.slot import MAX_BACKEND_NAME_CHARS, is_backend_name

logger = logging.getLogger(__name__)

EXEC_TYPES = ("automatic1111", "kandinsky")


class EntrySchema(TableSchema):
    """One entry of the list. The endpoint is checked as part of the back end's table."""

    type_rule = "must be an object"

    name = StringField(required=True, validate=validate.Regexp(r"(?s).*\S", error="must not be empty"))
    exec_type = ChoiceField(EXEC_TYPES, required=True)
    endpoint = fields.Raw(allow_none=True)
    timeout = SecondsField(allow_none=True)
    gpu = fields.Raw(allow_none=True)
    model = fields.Raw(allow_none=True)


@dataclass(frozen=True)
class ExecutorEntry:
    """One server of the list."""

    #: File and entry, as messages name them.
    place: str
    #: The table that it would be in the back ends file.
    table: Mapping[str, Any]

    def load(self, schema: Schema) -> dict[str, Any]:
        """Load the table with a schema. Raises: BadSetting."""
        return _load(schema, self.table, self.place)

    def error(self, rule: str) -> BadSetting:
        """Return the error of the entry's name."""
        return BadSetting(f"{self.place}: name: {rule}")


def read(path: Path) -> dict[str, ExecutorEntry]:
    """Return the entries of the file by the names of their slots.

    Raises:
        BadSetting: the file cannot be read or is wrong; the message names file, entry and key.
    """
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BadSetting(f"BACKENDS_FILE {path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise BadSetting(f"{path}: is not valid JSON: {exc}") from exc
    if not isinstance(items, list):
        raise BadSetting(f"{path}: must be a list of executors")
    entries: dict[str, ExecutorEntry] = {}
    for number, values in enumerate(items, 1):
        place = f"{path}: {_label(number, values)}"
        item = _load(EntrySchema(), values, place)
        slot = slot_name(item["name"], item["exec_type"], number)
        if slot in entries:
            other = entries[slot].place.removeprefix(f"{path}: ")
            raise BadSetting(f"{place}: name: gives the slot name {slot}, which {other} has already")
        _log(slot, *(str(item.get(key) or "") for key in ("name", "gpu", "model")))
        entries[slot] = ExecutorEntry(place, _table(item))
    return entries


def slot_name(name: str, exec_type: str, number: int) -> str:
    """Return the slot name of an entry: its name in valid characters, after its type if it is a single word."""
    slot = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-_")
    if not is_backend_name(slot):
        slot = f"{exec_type}-{slot or number}"
    return slot[:MAX_BACKEND_NAME_CHARS].rstrip("-")


def _label(number: int, values: Any) -> str:
    name = values.get("name") if isinstance(values, dict) else None
    return f"entry {number} ({name})" if isinstance(name, str) and name.strip() else f"entry {number}"


def _table(item: Mapping[str, Any]) -> dict[str, Any]:
    table = {"type": item["exec_type"], "endpoint": item.get("endpoint")}
    if item.get("timeout") is not None:
        table["run_timeout_s"] = item["timeout"]
    return table


def _load(schema: Schema, values: Any, place: str) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = schema.load(values)
    except ValidationError as exc:
        keys, rule = next(broken_rules(exc))
        raise BadSetting(": ".join([place, *filter(None, [".".join(keys)]), rule])) from None
    return loaded


@cache
def _log(slot: str, name: str, gpu: str, model: str) -> None:
    """Log an entry once in each process, however often the file is read."""
    entry = {"backend": slot, "entry": name, "entry_gpu": gpu, "entry_model": model}
    logger.info("back end of executors.json", extra=entry)
