"""The imports of the tree: no circles, no hidden imports by string, no Redis calls outside of ``jobs.store``.

Imports for type checking and imports inside functions count too.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Package → the folder that contains it.
PACKAGES = dict.fromkeys(("jobs", "tasks", "workers", "app", "stack"), ROOT) | {"framemill": ROOT / "src"}
#: Modules beside the packages whose strings are checked too.
CONFIGURATIONS = ("celeryconfig", "gunicorn.conf")

#: Strings that name a module on purpose: module → the names that it may contain.
NAMED_MODULES = {
    # Celery loads these by name: the back end of results, the pool, the boot step, the commands, the bodies of tasks.
    "celeryconfig": {
        "tasks.result_backend", "workers.gpu.task", "workers.delivery.task", "workers.parent.boot",
        "workers.parent.control", "workers.parent.pool",
    },
    # Celery rebuilds a failed job's exception from the result.
    "tasks.result_backend": {"jobs.errors"},
    # Checks of prompts and outputs are settings: an operator names a function there.
    "jobs.settings.web": {"jobs.moderation", "workers.delivery.moderation"},
    "jobs.moderation": {"jobs.moderation"},
}  # fmt: skip
#: Attributes of the store that give raw access to Redis.
RAW_ACCESS = {"call", "script", "client"}
STORES = {"store", "_store", "records", "_records"}
#: Most modules in a folder, with its ``__init__``.
MAX_MODULES = 16


@cache
def modules() -> dict[str, Path]:
    """Return every module by name; a package has the name of its folder."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree_of(module: str) -> ast.Module:
    path = modules().get(module) or ROOT / f"{module}.py"
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(module: str) -> frozenset[str]:
    """Return the modules of the tree that a module imports, wherever the statement is."""
    found: set[str] = set()
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            base = node.module or ""
            members = (f"{base}.{alias.name}" for alias in node.names)
            found.update(member if member in modules() else base for member in members)
    return frozenset(found & modules().keys() - {module})


def unit_of(module: str) -> str:
    """Return the folder of a module; a module directly in a package, or a package itself, stands for itself."""
    is_package = modules()[module].name == "__init__.py"
    folder = module if is_package else module.rpartition(".")[0]
    return folder if "." in folder else module


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Return the groups of nodes that reach each other."""
    reached = {node: _reached(graph, node) for node in graph}
    groups = {frozenset(other for other in reached[node] if node in reached[other]) for node in graph}
    return [set(group) for group in groups if len(group) > 1]


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen, waiting = set(), [start]
    while waiting:
        for node in graph[waiting.pop()] - seen:
            seen.add(node)
            waiting.append(node)
    return seen


def test_no_modules_import_each_other() -> None:
    graph = {module: set(imports_of(module)) for module in modules()}
    assert circles(graph) == []


def test_no_folders_import_each_other() -> None:
    graph: dict[str, set[str]] = {unit_of(module): set() for module in modules()}
    for module in modules():
        unit = unit_of(module)
        graph[unit] |= {unit_of(other) for other in imports_of(module)} - {unit}
    assert circles(graph) == []


@pytest.mark.parametrize("module", [*sorted(modules()), *CONFIGURATIONS])
def test_strings_name_modules_in_listed_places_only(module: str) -> None:
    allowed = NAMED_MODULES.get(module, set())
    assert set(_strings_that_name_modules(module)) - allowed == set()


def _strings_that_name_modules(module: str) -> Iterator[str]:
    pattern = re.compile(rf"(?P<module>({'|'.join(PACKAGES)})(\.\w+)+)(:\w+)?")
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := pattern.fullmatch(node.value)):
            named = match["module"]
            while "." in named and named not in modules():
                named = named.rpartition(".")[0]
            if "." in named:
                yield named


@pytest.mark.parametrize("module", sorted(modules()))
def test_redis_is_called_in_the_store_only(module: str) -> None:
    if module.startswith("jobs.store."):
        return
    raw = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute) and node.attr in RAW_ACCESS and _is_store(node.value)
    ]
    assert raw == []


def _is_store(node: ast.expr) -> bool:
    """Return whether an expression is a store: ``store``, ``self._store``, ``store()``, ``runtime.store()``."""
    if isinstance(node, ast.Call):
        node = node.func
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in STORES


def test_no_folder_holds_more_modules_than_a_reader_takes_in() -> None:
    numbers = Counter(path.parent for path in modules().values())
    assert {str(folder): number for folder, number in numbers.items() if number > MAX_MODULES} == {}
