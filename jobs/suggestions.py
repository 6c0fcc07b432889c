"""Which known name was probably meant by an unknown one. No I/O, and bounded work for names of any length."""

from __future__ import annotations

from collections.abc import Collection
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
