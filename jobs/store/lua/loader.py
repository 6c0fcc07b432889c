"""Read the Lua scripts and turn each into the text that Redis runs.

A script begins with comments that say what it does and what it returns, then names what it uses and what it takes::

    -- include: binding, common
    local slot, owner, takeover = unpack(ARGV)
    local facts = {unpack(ARGV, 4)}

``include`` (one or more lines) names the files of ``lua/include/`` whose functions the script calls. They may include
others. The script is joined with the functions that it reaches (:mod:`jobs.store.lua.linking`); ``-- on demand:`` names
those that most calls do not use. The next line declares the arguments, and the last one (if any) takes all further
values. Python passes them by the same names (:meth:`jobs.store.scripts.Scripts.script`).

Constants such as ``K.JOB`` or ``STATE.QUEUED`` are replaced by their values, so they cost nothing at run time and a
misspelled one is found when the script is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jobs.store.lua.linking import Linker

FOLDER = Path(__file__).parent

_INCLUDES = re.compile(r"^-- include: ([\w, ]+)$", re.MULTILINE)
_ON_DEMAND = re.compile(r"^-- on demand: ([\w, ]+)$", re.MULTILINE)
_ARGUMENTS = re.compile(r"^local (\w+(?:,\s+\w+)*) = unpack\(ARGV\)$", re.MULTILINE)
_REST = re.compile(r"^local (\w+) = (?:ARGV|\{unpack\(ARGV, (\d+)\)\})$", re.MULTILINE)
#: A string, a comment, or a dotted name such as ``K.JOB``.
_TOKEN = re.compile(
    r"(?P<string>'(?:\\.|[^'\\\n])*')|(?P<comment>(?<![ \t])[ \t]*--[^\n]*)|\b(?P<table>[A-Z]+)\.(?P<name>\w+)"
)


class BadScript(Exception):
    """A Lua script that cannot be loaded."""


@dataclass(frozen=True)
class LuaFile:
    """One file of Lua."""

    name: str
    text: str
    includes: tuple[str, ...]
    #: Functions that most calls of the script do not use.
    on_demand: tuple[str, ...]

    @classmethod
    def read(cls, name: str, folder: Path = FOLDER) -> LuaFile:
        text = (folder / f"{name}.lua").read_text(encoding="utf-8")
        includes, on_demand = (
            tuple(name for line in pattern.findall(text) for name in line.split(", "))
            for pattern in (_INCLUDES, _ON_DEMAND)
        )
        return cls(name, text, includes, on_demand)

    def chain(self, read: Callable[[str], LuaFile] | None = None) -> list[LuaFile]:
        """All files that this one includes, each after those that it includes itself; then this one.

        Args:
            read: reads an included file.
        """
        chain: dict[str, LuaFile] = {}
        self._collect(chain, (), read or (lambda name: LuaFile.read(name, FOLDER / "include")))
        return list(chain.values())

    def _collect(self, chain: dict[str, LuaFile], includers: tuple[str, ...], read: Callable[[str], LuaFile]) -> None:
        if self.name in includers:
            raise BadScript(f"{' includes '.join((*includers, self.name))}: a circle")
        for name in self.includes:
            if name not in chain:
                read(name)._collect(chain, (*includers, self.name), read)
        chain[self.name] = self


@dataclass(frozen=True)
class Script:
    """A script as Redis runs it, and the names of its arguments."""

    name: str
    text: str
    arguments: tuple[str, ...]
    #: Name of the argument that takes all further values; '' for none.
    rest: str

    def positional(self, values: Mapping[str, Any]) -> list[Any]:
        """The arguments in the order in which the script declares them.

        A mapping given for the last one is passed as field, value, ….

        Raises:
            TypeError: the names differ from those that the script declares.
        """
        names = (*self.arguments, self.rest) if self.rest else self.arguments
        if len(values) != len(names) or any(name not in values for name in names):
            raise TypeError(f"the script {self.name!r} takes {', '.join(names)}; got {', '.join(values)}")
        return [values[name] for name in self.arguments] + (_flat(values[self.rest]) if self.rest else [])


class _Loader:
    """Makes scripts. What it has read and made of an included file serves all scripts that include the file."""

    def __init__(self, literals: Mapping[str, Mapping[str, str]], tables: Mapping[str, str]) -> None:
        self._tables, self._linker = tables, Linker()
        self._read = cache(lambda name: LuaFile.read(name, FOLDER / "include"))
        self._compiled = cache(lambda source: _compiled(source, literals))

    def load(self, source: LuaFile) -> Script:
        """Return a script as Redis runs it. Raises: BadScript."""
        *included, main = (self._compiled(part) for part in source.chain(self._read))
        body = self._linker.link(included, main, source.on_demand)
        tables = {name: value for name, value in self._tables.items() if re.search(rf"\b{name}\b", body)}
        head = "".join(f"local {name} = {value}\n" for name, value in tables.items())
        return Script(source.name, head + body, *declared_arguments(source))


def scripts(constants: Mapping[str, Mapping[str, str | int]], tables: Mapping[str, str]) -> Iterator[Script]:
    """All scripts, ready for Redis.

    Args:
        constants: values by table and name: ``{"K": {"JOB": …}}`` is what scripts use as ``K.JOB``.
        tables: Lua expressions by the name under which scripts use them; each is defined where it is used.
    """
    literals = {
        table: {name: str(value) if isinstance(value, int) else f"'{value}'" for name, value in values.items()}
        for table, values in constants.items()
    }
    loader = _Loader(literals, tables)
    for path in sorted(FOLDER.glob("*.lua")):
        yield loader.load(LuaFile.read(path.stem))


def declared_arguments(source: LuaFile) -> tuple[tuple[str, ...], str]:
    """The names of a script's arguments, and of the one that takes all further values ('' for none).

    Raises:
        BadScript: they are not declared, or the last one does not begin after the others.
    """
    match, rest = _ARGUMENTS.search(source.text), _REST.search(source.text)
    if not match and not rest:
        raise BadScript(f"{source.name}.lua does not declare its arguments")
    names = tuple(re.split(r",\s+", match[1])) if match else ()
    if rest and int(rest[2] or 1) != len(names) + 1:
        raise BadScript(f"{source.name}.lua: {rest[1]} must be {{unpack(ARGV, {len(names) + 1})}}")
    return names, rest[1] if rest else ""


def _compiled(source: LuaFile, literals: Mapping[str, Mapping[str, str]]) -> str:
    """The text without comments, constants replaced by their values."""

    def replaced(match: re.Match[str]) -> str:
        if match["string"]:
            return match["string"]
        if match["comment"]:
            return ""
        try:
            return literals[match["table"]][match["name"]]
        except KeyError:
            raise BadScript(f"{source.name}.lua: there is no constant {match[0]}") from None

    return _TOKEN.sub(replaced, source.text)


def _flat(values: Mapping[str, Any] | Sequence[Any]) -> list[Any]:
    if isinstance(values, Mapping):
        return [part for pair in values.items() for part in pair]
    return list(values)
