"""TOML files whose errors name file, line, key and rule.

This is the one place that turns the path of an error in a schema into a line of the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError

from jobs.errors import BadSetting


class TomlFile:
    """A parsed TOML file that can tell the line of each of its keys."""

    def __init__(self, path: Path, text: str) -> None:
        """Raises: BadSetting: the text is not valid TOML; the message names line and column."""
        self.path, self.text = path, text
        try:
            self.tables: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise BadSetting(f"{path}: {exc}") from exc

    @classmethod
    def read(cls, path: Path, setting: str = "") -> TomlFile:
        """Read a file in UTF-8.

        Args:
            path: the file.
            setting: the environment variable that names the file; repeated in the message if it cannot be read.

        Raises:
            BadSetting: the file cannot be read, or is not valid TOML.
        """
        try:
            return cls(path, path.read_text(encoding="utf-8"))
        except OSError as exc:
            raise BadSetting(f"{f'{setting} {path}'.strip()} cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError as exc:
            raise BadSetting(f"{path}: {exc}") from exc

    def load(self, schema: Schema, table: str) -> Any:
        """Load one table with a schema.

        Raises:
            BadSetting: a rule is broken. Of several, the message names the first one in the file.
        """
        return self.load_at(schema, (table,), self.tables[table])

    def load_at(self, schema: Schema, keys: tuple[str, ...], values: Any) -> Any:
        """As :meth:`load`, with the values of a table inside of others. ``keys``: its path."""
        try:
            return schema.load(values)
        except ValidationError as exc:
            broken = [((*keys, *inner), rule) for inner, rule in broken_rules(exc)]
            path, rule = min(broken, key=lambda each: line_of(self.text, each[0]))
            raise self.error(path, rule) from None

    def error(self, keys: Sequence[str], rule: str) -> BadSetting:
        """Return the error of a key: ``file:line: [table] key: rule``.

        Args:
            keys: names from the outside in; the first one is the table's.
            rule: the rule that the value breaks.
        """
        key = ".".join(keys[1:]) or "table"
        return BadSetting(f"{self.path}:{line_of(self.text, keys)}: [{keys[0]}] {key}: {rule}")


def broken_rules(error: ValidationError) -> Iterator[tuple[tuple[str, ...], str]]:
    """Flatten an error of marshmallow: yield the path of each wrong value and the rule that it breaks."""
    yield from _flatten((), error.messages)


def _flatten(path: tuple[str, ...], messages: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if isinstance(messages, dict):
        for key, inner in messages.items():
            # Marshmallow reports under this name what concerns the whole table.
            yield from _flatten(path if key == "_schema" else (*path, str(key)), inner)
    elif isinstance(messages, list):
        for message in messages:
            yield from _flatten(path, message)
    else:
        yield path, str(messages)


def line_of(text: str, path: Sequence[str]) -> int:
    """Return the line, counted from 1, on which the statement that defines a key begins.

    If the path does not exist, this is the line of its longest part that exists, or 1 if there is none.

    ``tomllib`` reports no positions. So the parser is given the first line, the first two lines and so on, until the
    key appears: it alone decides about quoting and values of several lines. That is slow, and only done for an error.

    Args:
        text: valid TOML.
        path: names from the outside in, such as ``("model", "limits", "steps")``.
    """
    lines = text.splitlines(keepends=True)
    line, depth, begin = 1, 0, 0
    for end in range(1, len(lines) + 1):
        try:
            tables = tomllib.loads("".join(lines[:end]))
        except tomllib.TOMLDecodeError:
            continue  # this line is inside of a value that spans several
        if (reached := _depth(tables, path)) > depth:
            line, depth = begin + 1, reached
        begin = end
    return line


def _depth(tables: Any, path: Sequence[str]) -> int:
    """Return how many names of the path exist."""
    for depth, name in enumerate(path):
        if not isinstance(tables, dict) or name not in tables:
            return depth
        tables = tables[name]
    return len(path)
