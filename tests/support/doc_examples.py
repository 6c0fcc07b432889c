"""Reads the examples of the documents: the commands that they print, and the responses below them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.settings import PROJECT_ROOT

_BLOCK = re.compile(r"^```(console|sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|…|[{}\[\]:,])')
_CONSTANTS = {"true": True, "false": False, "null": None}


@dataclass
class Example:
    """A command of a document, or a program in Python."""

    #: Path from the project's folder.
    page: str
    section: str
    command: str
    #: What is printed below it; "" if the document does not show it.
    printed: str = ""
    is_python: bool = False

    def __str__(self) -> str:
        return f"{self.page}, {self.section}: {self.command}"


@dataclass
class Shortened:
    """A printed object or list of which some parts may be left out."""

    #: The parts that are printed; None: nothing is.
    value: Any
    is_open: bool = False


def examples(page: Path) -> Iterator[Example]:
    """Yield the commands in the shell blocks of a page, in their order."""
    text, name = page.read_text(encoding="utf-8"), str(page.relative_to(PROJECT_ROOT))
    for block in _BLOCK.finditer(text):
        headings = re.findall(r"^#+ (.+)$", text[: block.start()], re.MULTILINE)
        if block[1] == "python":
            yield Example(name, headings[-1], block[2], is_python=True)
            continue
        for command, printed in _commands(block[2], prompted=block[1] == "console"):
            yield Example(name, headings[-1], command, printed)


def _commands(block: str, *, prompted: bool) -> Iterator[tuple[str, str]]:
    lines = block.splitlines()
    while lines:
        line = lines.pop(0)
        if prompted and not line.startswith("$ "):
            continue
        command = line.removeprefix("$ ") if prompted else line
        while lines and not _is_whole(command):
            command += "\n" + lines.pop(0)
        printed = []
        while prompted and lines and not lines[0].startswith("$ "):
            printed.append(lines.pop(0))
        if command.strip():
            yield command, "\n".join(printed)


def _is_whole(command: str) -> bool:
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command, comments=True)
    except ValueError:  # a quote is open
        return False
    return True


def parse(printed: str) -> Any:
    """Parse printed JSON, in which ``…`` stands for parts that are left out, and lines may end anywhere."""
    tokens = _TOKEN.findall(re.sub(r"\n", " ", printed))
    value, rest = _value(tokens)
    assert not rest, f"not JSON: {printed}"
    return value


def _value(tokens: list[str]) -> tuple[Any, list[str]]:
    first, *rest = tokens
    if first in "{[":
        items: Any = {} if first == "{" else []
        is_open = False
        while rest[0] not in "}]":
            if rest[0] in (",", "…"):
                is_open |= rest.pop(0) == "…"
            elif first == "{":
                name = rest[0][1:-1]
                items[name], rest = _value(rest[2:])
            else:
                item, rest = _value(rest)
                items.append(item)
        return Shortened(items, is_open), rest[1:]
    if first == "…":
        return Shortened(None, True), rest
    if first in _CONSTANTS:
        return _CONSTANTS[first], rest
    return (first[1:-1] if first[0] == '"' else float(first)), rest


#: Texts that are compared, besides the keys.
_SPOKEN = {"detail", "message", "rule", "code", "field"}


def differences(printed: Any, real: Any, where: str = "") -> Iterator[str]:
    """Yield where a real response has other keys or types than the printed one."""
    if isinstance(printed, Shortened):
        if printed.value is None:
            return
        if not isinstance(real, type(printed.value)):
            yield f"{where or 'the body'} is {real!r}"
        elif isinstance(real, dict):
            missing = printed.value.keys() - real.keys()
            added = set() if printed.is_open else real.keys() - printed.value.keys()
            if missing or added:
                names = f"printed but not sent: {sorted(missing)}, sent but not printed: {sorted(added)}"
                yield f"{where or 'the body'}: {names}"
            for name in printed.value.keys() & real.keys():
                yield from differences(printed.value[name], real[name], f"{where}.{name}")
        else:
            for number, (one, other) in enumerate(zip(printed.value, real, strict=False)):
                yield from differences(one, other, f"{where}[{number}]")
    elif where.rpartition(".")[2] in _SPOKEN:
        if printed != real:
            yield f"{where} is {real!r}, not {printed!r}"
    elif printed is not None and real is not None and not _alike(printed, real):
        yield f"{where} is {real!r}, not like {printed!r}"


def _alike(printed: Any, real: Any) -> bool:
    is_number = isinstance(printed, float) and isinstance(real, int | float) and not isinstance(real, bool)
    return is_number or type(printed) is type(real)
