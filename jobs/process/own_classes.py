"""Pipeline classes that are not part of diffusers: ``FILE.py:Class`` or ``module:Class`` in the models file.

Only what the operator names in the models file is run, never code that a model's folder brings. This module looks at
the file without running it; :mod:`workers.pipelines.classes` imports the class.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from jobs.suggestions import did_you_mean

_REFERENCE = re.compile(r"(?P<place>[^:]+):(?P<name>[A-Za-z_]\w*)")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class OwnClass:
    """Where a custom class is."""

    #: The file that it is in, absolute; None if ``module`` is set.
    path: Path | None
    #: The module that it is in, as Python imports it; '' if ``path`` is set.
    module: str
    name: str

    @classmethod
    def of(cls, reference: str) -> OwnClass | None:
        """Return what a reference names; None for the plain name of a class, which is one of diffusers."""
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            return None
        place = match["place"]
        return cls(Path(place), "", match["name"]) if place.endswith(".py") else cls(None, place, match["name"])

    def problem(self) -> str:
        """Return what is wrong with it, as far as that shows without running the code; '' if nothing is."""
        if self.path is None:
            if not _MODULE.fullmatch(self.module):
                return f"{self.module!r} is no name of a module; write module:Class or FILE.py:Class"
            root = self.module.partition(".")[0]
            return "" if find_spec(root) else f"there is no module {root} (PYTHONPATH says where else to look)"
        try:
            tree = ast.parse(self.path.read_text(encoding="utf-8"))
        except OSError:
            return f"there is no file {self.path}"
        except (SyntaxError, ValueError) as exc:
            return f"{self.path} is no Python file: {exc}"
        classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
        imported = {
            name.asname or name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names
        }
        if self.name in (*classes, *imported):
            return ""
        return f"{self.path} has no class {self.name}{did_you_mean(self.name, classes)}"


def resolved(folder: Path, reference: str) -> str:
    """Return a reference with the absolute path of its file; ``folder``: that of the models file."""
    own = OwnClass.of(reference)
    return f"{folder / own.path}:{own.name}" if own and own.path else reference
