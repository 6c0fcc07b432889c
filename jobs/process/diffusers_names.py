"""Names that the installed diffusers knows, read from its source: importing it would import torch."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

#: Where the class of the attention back ends is, and its members: ``NAME = "name"``.
_ATTENTION = Path("models", "attention_dispatch.py")
_MEMBERS = re.compile(r"^class AttentionBackendName\b.*?\n(?=\S)", re.MULTILINE | re.DOTALL)


@cache
def class_names() -> frozenset[str]:
    """Return all names that diffusers offers; empty if it is not installed here."""
    return frozenset(re.findall(r'"([A-Za-z_]\w*)"', _source(Path("__init__.py"))))


@cache
def attention_names() -> tuple[str, ...]:
    """Return the attention back ends that diffusers knows, in its order; empty if it is not installed here."""
    members = _MEMBERS.search(_source(_ATTENTION))
    return tuple(re.findall(r'^    \w+ = "(\w+)"$', members[0], re.MULTILINE)) if members else ()


def _source(path: Path) -> str:
    spec = find_spec("diffusers")
    if spec is None or spec.origin is None:
        return ""
    return (Path(spec.origin).parent / path).read_text(encoding="utf-8")
