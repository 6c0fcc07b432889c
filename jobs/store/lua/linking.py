"""Join a script with the functions that it uses.

Redis runs the text of a script from its first line in every call, so each function in it is created in every call. A
Lua function that uses twenty local ones is linked to each of them at that moment, and finding one takes longer the more
there are: for the largest scripts that took a third of their time. So a script gets only what it can reach, and its
functions stand in one table, ``F``: ``local function bind(slot)`` becomes ``function F.bind(slot)``.

The substitution is textual. It is safe because the names that included files define at their top level are used for
nothing else: not for variables, parameters or fields in braces (``tests/unit/test_lua_scripts.py``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: Called by what the loader adds to a script that changes records.
WRITE_RECORDS = "write_records"

_BLOCK = re.compile(r"^(?=local )", re.MULTILINE)
_FUNCTION = re.compile(r"local function (\w+)")
_VARIABLES = re.compile(r"local (\w+(?:, \w+)*)( =)?")
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

    def link(self, included: Iterable[str], main: str) -> str:
        """Return a script as one text.

        Args:
            included: the texts of the included files, each after those that it uses. They define functions and
                variables, and do nothing else.
            main: the text of the script itself.
        """
        blocks = [block for text in included for block in self._blocks_of(text)]
        owners = {name: block for block in blocks for name in block.names}
        reached: set[str] = set()
        waiting = set(_WORD.findall(main)) | {WRITE_RECORDS}
        if not waiting & set(owners):
            return main
        while waiting:
            name = waiting.pop()
            if name in owners and name not in reached:
                reached.update(owners[name].names)
                waiting |= owners[name].words - reached
        used = [block for block in blocks if reached.intersection(block.names)]
        names = [name for block in used for name in block.names]
        # The table has room for all of them from the beginning.
        table = "local F = {" + ", ".join(f"{name} = false" for name in names) + "}\n"
        body = _linked(main, frozenset(names))
        if WRITE_RECORDS in reached:
            body = f"local function main()\n{body}end\nlocal reply = main()\nF.{WRITE_RECORDS}()\nreturn reply\n"
        return table + "".join(self._text_of(block, frozenset(names)) for block in used) + body

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


def _linked(text: str, names: frozenset[str]) -> str:
    return _WORD.sub(lambda match: f"F.{match[0]}" if match[0] in names else match[0], text)
