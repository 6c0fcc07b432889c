"""Which known names were probably meant by an unknown one. No I/O, and bounded work for names of any length."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

#: Longer names are cut, and of more names only the first are compared.
_MAX_CHARS, _MAX_NAMES = 80, 2000


def nearest(name: str, known: Collection[str]) -> str | None:
    """Return the known name that is most like ``name``, whatever its case; None if none is like it."""
    by_text = {one[:_MAX_CHARS].lower(): one for one in reversed(list(known)[:_MAX_NAMES])}
    matches = get_close_matches(name[:_MAX_CHARS].lower(), by_text, n=1, cutoff=0.6)
    return by_text[matches[0]] if matches else None


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence about an unknown name: ``; did you mean steps?``, or nothing."""
    match = nearest(name, known)
    return f"; did you mean {match}?" if match else ""


#: Lists of names are shortened to this many.
_MAX_LISTED = 8
_SEPARATORS = re.compile(r"[\s_.-]+")


def listed(names: Collection[str], near: str = "") -> str:
    """Return names for a message: all of a short list, of a long one those that are most like ``near``."""
    if len(names) <= _MAX_LISTED:
        return ", ".join(names)
    pairs = _pairs(near)
    ranked = sorted(names, key=lambda name: -len(pairs & _pairs(name)) / (len(pairs) + len(_pairs(name)) + 1))
    return f"{', '.join(ranked[:_MAX_LISTED])} and {len(names) - _MAX_LISTED} more"


def _pairs(name: str) -> set[str]:
    """Return the pairs of neighbouring characters: names with many in common look alike."""
    text = name[:_MAX_CHARS].lower()
    return {text[at : at + 2] for at in range(len(text))}


def misspelt(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` is a misspelling of; None if it may be a name of its own.

    A misspelling has other capitals or separators, or one letter too many, missing, or two exchanged; in names of more
    than four letters, one letter may also be another, and in those of more than eight, two mistakes are possible.
    """
    plain = _SEPARATORS.sub("", name[:_MAX_CHARS].lower())
    best, fewest = None, 3
    for one in known:
        meant = _SEPARATORS.sub("", one.lower())
        allowed = 2 if len(meant) > 8 else 1 if len(meant) > 3 else 0
        if abs(len(plain) - len(meant)) <= allowed:
            mistakes = _mistakes(plain, meant, 1 if len(meant) > 4 else 2)
            if mistakes <= allowed and mistakes < fewest:
                best, fewest = one, mistakes
    return best


def _mistakes(name: str, meant: str, other_letter: int) -> int:
    """Return the number of mistakes that make ``name`` of ``meant``; another letter counts ``other_letter``."""
    before: list[int] = []
    row = list(range(len(meant) + 1))
    for i, letter in enumerate(name, 1):
        before, last, row = row, before, [i]
        for j, right in enumerate(meant, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (0 if letter == right else other_letter))
            if i > 1 and j > 1 and letter == meant[j - 2] and name[i - 2] == right:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
