"""Read the weights that AUTOMATIC1111's users write into prompts.

``(word)`` is 1.1 times as strong, ``[word]`` 1.1 times weaker, ``(word:1.3)`` has this strength; brackets may be
nested. ``BREAK`` begins a new chunk of tokens. A backslash before a bracket makes it text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Factor of a pair of brackets without a number.
STEP = 1.1
_FACTORS = {"(": STEP, "[": 1 / STEP}
_PARTS = re.compile(
    r"""
    \\(?P<escaped>[()\[\]\\])
  | (?P<open>[(\[])
  | :\s*(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+))\s*\)
  | (?P<close>[)\]])
  | (?P<chunk>\bBREAK\b)
  | (?P<text>\\|:|[^\\()\[\]:B]+|B)
    """,
    re.VERBOSE,
)


@dataclass
class Part:
    """A part of a prompt: a text and its weight, or the beginning of a new chunk."""

    text: str
    weight: float = 1.0
    begins_chunk: bool = False


@dataclass
class _Bracket:
    """A pair of brackets around the parts from index ``begin`` to before ``end``."""

    kind: str
    begin: int
    end: int = 0
    factor: float = 1.0


def parts_of(prompt: str) -> list[Part]:
    """Return the parts of a prompt. A bracket that is never closed counts as closed at the end."""
    parts: list[Part] = []
    brackets: list[_Bracket] = []
    unclosed: list[_Bracket] = []

    def close(factor: float) -> None:
        bracket = unclosed.pop()
        bracket.end, bracket.factor = len(parts), factor

    for match in _PARTS.finditer(prompt):
        kind, text = str(match.lastgroup), match[0]
        inside = unclosed[-1].kind if unclosed else ""
        if kind == "open":
            brackets.append(_Bracket(text, len(parts)))
            unclosed.append(brackets[-1])
        elif kind == "weight" and inside == "(":
            close(float(match["weight"]))
        elif kind == "close" and inside == {")": "(", "]": "["}[text]:
            close(_FACTORS[inside])
        else:
            parts.append(Part("" if kind == "chunk" else match["escaped"] or text, begins_chunk=kind == "chunk"))
    while unclosed:
        close(_FACTORS[unclosed[-1].kind])
    _weight(parts, brackets)
    return _merged(parts)


def _weight(parts: list[Part], brackets: list[_Bracket]) -> None:
    """Multiply the weight of each part by the factors of the brackets around it, which are in the order they open."""
    around: list[tuple[int, float]] = []  # end, and product of all factors
    waiting = iter(brackets)
    bracket = next(waiting, None)
    for index, part in enumerate(parts):
        while around and around[-1][0] <= index:
            around.pop()
        while bracket and bracket.begin == index:
            if bracket.end > index:
                around.append((bracket.end, bracket.factor * (around[-1][1] if around else 1.0)))
            bracket = next(waiting, None)
        part.weight = around[-1][1] if around else 1.0


def is_plain(parts: list[Part]) -> bool:
    """Return whether a prompt has neither weights nor chunks."""
    return all(part.weight == 1 and not part.begins_chunk for part in parts)


def _merged(parts: list[Part]) -> list[Part]:
    """Join neighbours of the same weight, so that words are not split where they need not be."""
    merged: list[Part] = []
    for part in parts:
        last = merged[-1] if merged else None
        if last and not last.begins_chunk and not part.begins_chunk and last.weight == part.weight:
            last.text += part.text
        else:
            merged.append(part)
    return merged
