"""The back ends file: servers of others that compute jobs as one slot each.

Each table is a slot of its name, served by a Celery worker of that queue (``celery -A tasks worker -Q lightx2v-1``).
A mistake is a :class:`~jobs.errors.BadSetting` that names file, table and key, raised when a process starts.
A Devoid Generator's ``executors.json`` is read, too (``jobs.models.executors_json``).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jobs.errors import BadSetting
from jobs.models import executors_json as executors_file
from jobs.models.builtin import BUILT_IN
from jobs.models.registry import ModelRegistry
from jobs.models.spec import ModelSpec
from jobs.settings import PROJECT_ROOT, Settings
from jobs.slots.slot import is_backend_name

#: What a back end may speak; each is a module of ``workers/executors/remote``.
TYPES = ("lightx2v", "automatic1111", "kandinsky")

_KEYS = {"type", "endpoint", "models", "timeout_s", "lost_after_s", "run_timeout_s", "credentials_env"}
_SECONDS = ("timeout_s", "lost_after_s", "run_timeout_s")
#: Variables with the key of a type whose tables name none.
_CREDENTIALS = {"kandinsky": "KANDINSKY_API_TOKEN"}
#: Where a Devoid Generator has its file, and what is read when there is no ``backends.toml``.
_EXECUTORS_JSON = Path("data") / "executors.json"


@dataclass(frozen=True, kw_only=True)
class Backend:
    """One table of the file."""

    name: str
    #: Which protocol it speaks.
    type: str
    #: Its address, without a slash at the end.
    endpoint: str
    #: Our names of the models it has, and what it calls them itself ('' where that does not matter).
    models: Mapping[str, str]
    #: Longest wait for one of its answers, seconds.
    timeout_s: float = 10.0
    #: A job that runs there is given to another slot when it was out of reach for so long, seconds.
    lost_after_s: float = 30.0
    #: A run that takes longer is stopped there and given to another slot, seconds; None: no limit of its own.
    run_timeout_s: float | None = None
    #: Environment variable that holds its key or ``user:password``; '' for none.
    credentials_env: str = field(default="", repr=False)

    def offered(self, registry: ModelRegistry) -> list[ModelSpec]:
        """The models of the models file that it may run."""
        return registry.for_slot(self.name, self.models)


def read_backends(path: Path) -> dict[str, Backend]:
    """Read and check the whole file; without one (at its default place, or a Devoid Generator's) there are none.

    Raises:
        BadSetting: unreadable file, syntax error, unknown key, wrong type or value.
    """
    if path == PROJECT_ROOT / "backends.toml" and not path.exists():
        path = PROJECT_ROOT / _EXECUTORS_JSON
        if not path.exists():
            return {}
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            listed = executors_file.read(path, text)
            return {name: _backend(f"{path}: {entry.label}:", name, entry.table) for name, entry in listed.items()}
        tables = tomllib.loads(text)
    except OSError as exc:
        raise BadSetting(f"BACKENDS_FILE {path} cannot be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise BadSetting(f"{path}: {exc}") from exc
    return {name: _backend(f"{path}: [{name}]", name, table) for name, table in tables.items()}


def registry_of(settings: Settings) -> ModelRegistry:
    """Every model of this installation: those of the models file, and those that back ends bring along.

    Raises:
        BadSetting: one of both files is wrong.
    """
    registry = ModelRegistry.from_file(settings.paths.models_file)
    named = {name for backend in read_backends(settings.paths.backends_file).values() for name in backend.models}
    brought = [BUILT_IN[name] for name in sorted(named & BUILT_IN.keys() - set(registry.names()))]
    return ModelRegistry([*registry, *brought])


def _backend(place: str, name: str, table: Any) -> Backend:
    """``place``: file and table, for messages."""

    def bad(key: str, rule: str) -> BadSetting:
        return BadSetting(f"{place} {key}: {rule}")

    if not is_backend_name(name):
        raise bad("name", "letters, digits, '_' and at least one '-' in between, like lightx2v-1; at most 32")
    if not isinstance(table, dict):
        raise bad("table", "must be a table")
    for key in table.keys() - _KEYS:
        raise bad(key, f"unknown key; known: {', '.join(sorted(_KEYS))}")
    if table.get("type") not in TYPES:
        raise bad("type", f"must be one of {', '.join(TYPES)}")
    endpoint = table.get("endpoint")
    if not isinstance(endpoint, str) or not _is_address(endpoint):
        raise bad("endpoint", "must be an address like http://gpuhost:8000, without user name or query")
    for key in _SECONDS:
        if not executors_file.is_seconds(table.get(key, 1)):
            raise bad(key, "must be seconds, more than 0")
    if not isinstance(table.get("credentials_env", ""), str):
        raise bad("credentials_env", "must be the name of an environment variable")
    given = {key: table[key] for key in (*_SECONDS, "credentials_env") if key in table}
    return Backend(
        name=name, type=table["type"], endpoint=endpoint.rstrip("/"), models=_models(table, bad),
        **{"credentials_env": _CREDENTIALS.get(table["type"], ""), **given},
    )  # fmt: skip


def _models(table: Mapping[str, Any], bad: Any) -> Mapping[str, str]:
    """A list of our names, or a table from them to the back end's own; left out: what the type brings along."""
    value = table.get("models")
    if value is None and table["type"] in BUILT_IN:
        return {table["type"]: ""}
    names = dict.fromkeys(value, "") if isinstance(value, list) and all(isinstance(n, str) for n in value) else value
    if not isinstance(names, dict) or not names or not all(isinstance(own, str) for own in names.values()):
        raise bad("models", "must be a list of names of the models file, or a table of them with the back end's names")
    return names


def _is_address(text: str) -> bool:
    try:
        link = urlsplit(text)
        link.port  # noqa: B018  (raises for what is no port)
    except ValueError:
        return False
    return (
        link.scheme in ("http", "https")
        and bool(link.hostname)
        and not (link.query or link.fragment or "@" in link.netloc)
    )
