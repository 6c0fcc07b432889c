"""How the processes of ``make test`` share the test files.

Each file runs in one process. Some files also share what is expensive to start, and run in the same one, one after the
other: those of the shared stack, whose GPU child imports torch, and those that import torch themselves. They come
first, because they take longest.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

from jobs.settings import PROJECT_ROOT

#: Whether torch was imported when all tests were collected.
imported_torch = pytest.StashKey[bool]()

_SHARED_STACK, _TORCH = "the shared stack", "torch"
#: A test with the argument ``stack``, and a fixture that replaces the shared one.
_USES_STACK = re.compile(r"^def test_\w+\([^)]*\bstack: Stack\b", re.MULTILINE)
_OWN_STACK = re.compile(r"^def stack\(", re.MULTILINE)


@cache
def group_of(file: str) -> str:
    """Return the group of a test file, a path in the repository. A wrong group costs time and changes no result."""
    if file.startswith("tests/worker/"):
        return _TORCH
    text = Path(PROJECT_ROOT, file).read_text()
    return _SHARED_STACK if _USES_STACK.search(text) and not _OWN_STACK.search(text) else file


class Distribution(LoadFileScheduling):
    """Gives each process the tests of one group after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(super()._split_scope(nodeid))


def longest_groups_first(items: list[pytest.Item]) -> None:
    """Sort the tests: those of the shared stack, those of torch, all others."""
    order = {_SHARED_STACK: 0, _TORCH: 1}
    items.sort(key=lambda item: order.get(group_of(item.nodeid.partition("::")[0]), len(order)))
