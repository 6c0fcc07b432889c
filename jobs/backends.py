"""The back ends file: servers of others that compute jobs as one slot each.

Each table is a slot of its name, served by a Celery worker of that queue (``celery -A tasks worker -Q lightx2v-1``).
A mistake is a :class:`~jobs.errors.BadSetting` that names file, table and key, raised when a process starts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jobs.errors import BadSetting
from jobs.models import ModelRegistry, ModelSpec
from jobs.settings import PROJECT_ROOT
from jobs.slots import is_backend_name

#: What a back end may speak; each is a module of ``workers/executors/remote``.
TYPES = ("lightx2v",)

_KEYS = {"type", "endpoint", "models", "timeout_s", "lost_after_s", "credentials_env"}


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
    #: Environment variable that holds its key or ``user:password``; '' for none.
    credentials_env: str = field(default="", repr=False)

    def offered(self, registry: ModelRegistry) -> list[ModelSpec]:
        """The models of the models file that it may run."""
        return registry.for_slot(self.name, self.models)


def read_backends(path: Path) -> dict[str, Backend]:
    """Read and check the whole file; without one (at its default place) there are no back ends.

    Raises:
        BadSetting: unreadable file, syntax error, unknown key, wrong type or value.
    """
    if path == PROJECT_ROOT / "backends.toml" and not path.exists():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BadSetting(f"BACKENDS_FILE {path} cannot be read: {exc.strerror}") from exc
    except tomllib.TOMLDecodeError as exc:
        raise BadSetting(f"{path}: {exc}") from exc
    return {name: _backend(path, name, table) for name, table in tables.items()}


def _backend(path: Path, name: str, table: Any) -> Backend:
    def bad(key: str, rule: str) -> BadSetting:
        return BadSetting(f"{path}: [{name}] {key}: {rule}")

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
    for key in ("timeout_s", "lost_after_s"):
        value = table.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 86_400:
            raise bad(key, "must be seconds, more than 0")
    if not isinstance(table.get("credentials_env", ""), str):
        raise bad("credentials_env", "must be the name of an environment variable")
    return Backend(
        name=name, type=table["type"], endpoint=endpoint.rstrip("/"), models=_models(table.get("models"), bad),
        **{key: table[key] for key in ("timeout_s", "lost_after_s", "credentials_env") if key in table},
    )  # fmt: skip


def _models(value: Any, bad: Any) -> Mapping[str, str]:
    """A list of our names, or a table from them to the back end's own."""
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
