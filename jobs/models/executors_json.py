"""A Devoid Generator's ``data/executors.json``: a list of servers, as tables of the back ends file.

Each entry has ``name``, ``exec_type`` and ``endpoint``, and may have ``timeout`` (seconds for one run), ``gpu`` and
``model``; the last two are for people there, and only noted here.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jobs.errors import BadSetting
from jobs.slots.slot import MAX_BACKEND_NAME_CHARS, is_backend_name

logger = logging.getLogger(__name__)

EXEC_TYPES = ("automatic1111", "kandinsky")
_KEYS = {"name", "gpu", "timeout", "model", "exec_type", "endpoint"}


@dataclass(frozen=True)
class Entry:
    """One server of the list."""

    #: How messages call it.
    label: str
    #: As it would stand in the back ends file.
    table: dict[str, Any]


def read(path: Path, text: str) -> dict[str, Entry]:
    """The entries by the names of their slots.

    Raises:
        BadSetting: no such list; names file, entry and key.
    """
    try:
        entries = json.loads(text)
    except ValueError as exc:
        raise BadSetting(f"{path}: is not JSON: {exc}") from exc
    if not isinstance(entries, list):
        raise BadSetting(f"{path}: must be a list of executors")
    found: dict[str, Entry] = {}
    for number, fields in enumerate(entries, 1):
        name, entry = _entry(path, number, fields)
        if name in found:
            raise BadSetting(f"{path}: {entry.label}: name: would be slot {name}, as {found[name].label} is")
        found[name] = entry
    return found


def slot_name(name: str, exec_type: str, number: int) -> str:
    """The slot of an entry: its name as far as a slot may be called so, with the type in front of a single word."""
    words = re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-_")
    if not is_backend_name(words):
        words = f"{exec_type}-{words or number}"
    return words[:MAX_BACKEND_NAME_CHARS].rstrip("-")


def is_seconds(value: Any) -> bool:
    """Whether a value can be a time limit: more than 0, and less than a day."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 86_400


@cache
def _note(slot: str, name: str, gpu: str, model: str) -> None:
    """Once for each process, however often it reads the file."""
    notes = {"backend": slot, "entry": name, "its_gpu": gpu, "its_model": model}
    logger.info("back end of executors.json", extra=notes)


def _entry(path: Path, number: int, fields: Any) -> tuple[str, Entry]:
    label = f"entry {number}"

    def bad(key: str, rule: str) -> BadSetting:
        return BadSetting(f"{path}: {label}: {key}: {rule}")

    if not isinstance(fields, dict):
        raise BadSetting(f"{path}: {label}: must be an object")
    if not isinstance(fields.get("name"), str) or not fields["name"].strip():
        raise bad("name", "must be text")
    label += f" ({fields['name']})"
    for key in sorted(fields.keys() - _KEYS):
        raise bad(key, f"unknown key; known: {', '.join(sorted(_KEYS))}")
    if fields.get("exec_type") not in EXEC_TYPES:
        raise bad("exec_type", f"must be one of {', '.join(EXEC_TYPES)}")
    if fields.get("timeout") is not None and not is_seconds(fields["timeout"]):
        raise bad("timeout", "must be seconds, more than 0")
    name = slot_name(fields["name"], fields["exec_type"], number)
    _note(name, *(str(fields.get(key) or "") for key in ("name", "gpu", "model")))
    table = {"type": fields["exec_type"], "endpoint": fields.get("endpoint")}
    if fields.get("timeout") is not None:
        table["run_timeout_s"] = fields["timeout"]
    return name, Entry(label, table)
