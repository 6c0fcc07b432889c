"""Parse TOML tables; every error and warning names the file, line and key."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jobs.errors import BadSetting
from jobs.process.toml_lines import TomlFile
from jobs.suggestions import did_you_mean

logger = logging.getLogger(__name__)


class Table:
    """One table of a file. Callers take its keys one by one; :meth:`done` warns of the keys that are left over.

    A schema does not fit here: the keys of a table depend on the values of others, and several names mean the same.
    """

    def __init__(self, file: TomlFile, names: tuple[str, ...], values: Any) -> None:
        self._file, self._names = file, names
        #: Key → the table of another file that it is from, and its name there.
        self._filled: dict[str, tuple[Table, str]] = {}
        if not isinstance(values, dict):
            raise self.bad("", "must be a table")
        self._remaining = dict(values)
        self._known: set[str] = set()
        self.values: Mapping[str, Any] = values

    @classmethod
    def from_file(cls, path: Path) -> Table:
        """Parse a file. Raises: BadSetting: it is not readable or not TOML."""
        file = TomlFile.read(path)
        return cls(file, (), file.tables)

    @property
    def folder(self) -> Path:
        return self._file.path.parent

    def bad(self, key: str, rule: str) -> BadSetting:
        """Return the error for a key of this table, or of the file that the key is from."""
        if key in self._filled:
            source, name = self._filled[key]
            return source.bad(name, rule)
        return self._file.error((*self._names, key) if key else self._names, rule)

    def warn(self, key: str, text: str) -> None:
        """Log that a key has no effect, or not the one that its writer expects."""
        logger.warning("%s", self.bad(key, text))

    def fill(self, key: str, source: Table, name: str) -> None:
        """Set a key that the file omits to the value of a key of another file."""
        if key not in self._remaining and key not in self.values:
            self._remaining[key] = source.values[name]
            self._filled[key] = (source, name)

    def __bool__(self) -> bool:
        return bool(self.values)

    def names(self) -> list[str]:
        """Return the keys that have not been taken yet."""
        return list(self._remaining)

    def table(self, key: str) -> Table:
        """Take a nested table; an omitted one is empty."""
        self._known.add(key)
        return Table(self._file, (*self._names, key), self._remaining.pop(key, {}))

    def take(self, key: str, kind: type | tuple[type, ...], rule: str, default: Any = None) -> Any:
        """Take a value of a type. Raises: BadSetting: it has another type."""
        value = self.any(key, default)
        if value is default:
            return value
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kind) or (isinstance(value, bool) and bool not in kinds):
            raise self.bad(key, rule)
        return value

    def text(self, key: str, default: Any = "") -> Any:
        return self.take(key, str, "must be a string", default)

    def flag(self, key: str, default: bool = False) -> bool:
        return bool(self.take(key, bool, "must be true or false", default))

    def number(self, key: str, default: Any = None, *, least: float | None = 0) -> Any:
        value = self.take(key, (int, float), "must be a number", default)
        if value is not default and least is not None and not least <= value < float("inf"):
            raise self.bad(key, f"must be a number of at least {least:g}")
        return value

    def whole(self, key: str, default: Any = None, *, least: int | None = 0) -> Any:
        value = self.take(key, int, "must be an integer", default)
        if value is not default and least is not None and value < least:
            raise self.bad(key, f"must be an integer of at least {least}")
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        values = self.take(key, list, "must be a list of strings", default)
        if not all(isinstance(value, str) for value in values):
            raise self.bad(key, "must be a list of strings")
        return tuple(values)

    def any(self, key: str, default: Any = None) -> Any:
        self._known.add(key)
        return self._remaining.pop(key, default)

    def one_of(self, key: str, allowed: Iterable[str], default: str) -> str:
        value = self.text(key, default)
        if value not in allowed:
            raise self.bad(key, f"must be one of {', '.join(sorted(allowed))}")
        return str(value)

    def done(self) -> None:
        """Warn of the keys that were not taken."""
        for key in self._remaining:
            self.warn(key, f"unknown key{did_you_mean(key, self._known)}")
