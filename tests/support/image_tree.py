"""A folder as the code of an image, and an interpreter that has only the packages of the image."""

from __future__ import annotations

import configparser
import importlib.metadata as metadata
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from jobs.settings import PROJECT_ROOT

#: What ``python -m venv`` installs itself, with the modules that pip's own installation may bring.
_ALWAYS = {"pip", "setuptools"}

_GUARD = """
import sys

class Guard:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Guard(finder) for finder in sys.meta_path]
"""


def hide_others(folder: Path, extra: str) -> Path:
    """Write a module for ``PYTHONPATH`` that hides the packages which ``pip install .[extra]`` would not install."""
    allowed = _ALWAYS | packages_of(extra)
    hidden = {
        module
        for module, packages in metadata.packages_distributions().items()
        if module not in sys.stdlib_module_names and not allowed & {canonicalize_name(name) for name in packages}
    }
    assert hidden >= {"pytest", "ruff", "mypy"}
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_GUARD.format(hidden=hidden))
    return folder


@cache
def packages_of(extra: str) -> set[str]:
    """Return the packages that an extra of setup.cfg installs, with everything that they need."""
    setup = configparser.ConfigParser()
    setup.read(PROJECT_ROOT / "setup.cfg")
    lines = setup["options"]["install_requires"] + setup["options.extras_require"][extra]
    found = {"framemill"}
    for requirement in _requirements(lines.splitlines()):
        if requirement.name == "framemill":
            found |= {name for inner in requirement.extras for name in packages_of(inner)}
        else:
            _add(requirement, found)
    return found


def _add(requirement: Requirement, found: set[str]) -> None:
    name = canonicalize_name(requirement.name)
    if name in found and not requirement.extras:
        return
    found.add(name)
    try:
        needed = metadata.requires(name) or ()
    except metadata.PackageNotFoundError:  # for another system or version of Python
        return
    for inner in _requirements(needed, requirement.extras):
        _add(inner, found)


def _requirements(lines: Iterable[str], extras: Iterable[str] = ()) -> list[Requirement]:
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    contexts = [{"extra": extra} for extra in ("", *extras)]
    return [one for one in parsed if one.marker is None or any(one.marker.evaluate(context) for context in contexts)]
