"""Join a script with the functions that it uses.

Redis runs the text of a script from its first line in every call, so each function in it is created in every call. A
Lua function that uses twenty local ones is linked to each of them at that moment, and finding one takes longer the more
there are: for the largest scripts that took a third of their time. So a script gets only what it can reach, and its
functions stand in one table, ``F``: ``local function bind(slot)`` becomes ``function F.bind(slot)``.

A call of a script uses a part of what the script can reach. Functions that it names as used ``on demand``, and what
only they reach, are created together, when ``F`` is first asked for one of them.

The substitution is textual. It is safe because the names that included files define at their top level are used for
nothing else: not for variables, parameters or fields in braces (``tests/unit/test_lua_scripts.py``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

#: Called by what the loader adds to a script that changes records.
WRITE_RECORDS = "write_records"

_BLOCK = re.compile(r"^(?=local )", re.MULTILINE)
_FUNCTION = re.compile(r"local function (\w+)")
_VARIABLES = re.compile(r"local (\w+(?:, \w+)*)( =)?")
#: Creates the functions that are created on demand.
_ON_DEMAND = "setmetatable(F, {__index = function(_, name) create() return F[name] end})\n"
#: A string, or a name that is no field.
_WORD = re.compile(r"'(?:\\.|[^'\\\n])*'|(?<![\w.:])[A-Za-z_]\w*")


@dataclass(frozen=True)
class _Block:
    """One definition at the top level of an included file: a function, or variables."""

    names: tuple[str, ...]
    text: str
    words: frozenset[str]

    @classmethod
    def read(cls, text: str) -> _Block:
        match = _FUNCTION.match(text) or _VARIABLES.match(text)
        assert match, text
        return cls(tuple(match[1].split(", ")), text, frozenset(_WORD.findall(text)))

    @property
    def is_assigned(self) -> bool:
        """Whether the definition gives its names a value."""
        return self.text.startswith("local function") or bool(_VARIABLES.match(self.text)[2])  # type: ignore[index]


class Linker:
    """Joins scripts with included files. What it has made of a file serves all scripts that include the file."""

    def __init__(self) -> None:
        self._blocks: dict[str, list[_Block]] = {}
        self._linked: dict[tuple[str, frozenset[str]], str] = {}

    def link(self, included: Iterable[str], main: str, on_demand: Collection[str] = ()) -> str:
        """Return a script as one text.

        Args:
            included: the texts of the included files, each after those that it uses. They define functions and
                variables, and do nothing else.
            main: the text of the script itself.
            on_demand: functions that most calls of the script do not use.
        """
        blocks = [block for text in included for block in self._blocks_of(text)]
        owners = {name: block for block in blocks for name in block.names}
        words = {*_WORD.findall(main), WRITE_RECORDS}
        reached, at_once = _reached(words, owners), _reached(words, owners, on_demand)
        if not reached:
            return main
        used = [block for block in blocks if reached.intersection(block.names)]
        names = frozenset(name for block in used for name in block.names)
        first = [block for block in used if at_once.intersection(block.names) or not block.is_assigned]
        later = "".join(self._text_of(block, names) for block in used if block not in first)
        # The table has room for what is created at once from the beginning.
        table = "local F = {" + ", ".join(f"{name} = false" for block in first for name in block.names) + "}\n"
        if later:
            table += f"local function create()\nsetmetatable(F, nil)\n{later}end\n{_ON_DEMAND}"
        body = _linked(main, names)
        if WRITE_RECORDS in reached:
            body = f"local function main()\n{body}end\nlocal reply = main()\nF.{WRITE_RECORDS}()\nreturn reply\n"
        return table + "".join(self._text_of(block, names) for block in first) + body

    def _blocks_of(self, text: str) -> list[_Block]:
        if text not in self._blocks:
            self._blocks[text] = [_Block.read(part) for part in _BLOCK.split(text)[1:]]
        return self._blocks[text]

    def _text_of(self, block: _Block, names: frozenset[str]) -> str:
        """Return a definition as an assignment to ``F``; nothing for a variable without a value."""
        if not block.is_assigned:
            return ""
        key = block.text, block.words & names
        if key not in self._linked:
            self._linked[key] = _linked(*key).removeprefix("local ")
        return self._linked[key]


def _reached(words: set[str], owners: Mapping[str, _Block], without: Collection[str] = ()) -> set[str]:
    """Return the names that are defined for these words, directly or indirectly, but not by way of ``without``."""
    reached: set[str] = set()
    waiting = set(words)
    while waiting:
        name = waiting.pop()
        if name in owners and name not in reached and name not in without:
            reached.update(owners[name].names)
            waiting |= owners[name].words - reached
    return reached


def _linked(text: str, names: frozenset[str]) -> str:
    return _WORD.sub(lambda match: f"F.{match[0]}" if match[0] in names else match[0], text)
