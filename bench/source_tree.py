"""Parse the Python modules of a checkout and resolve what they import, without running any of them."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

#: Top-level folders that make up the product. ``framemill`` is the client; newer checkouts keep it below ``src``.
PACKAGES = ("app", "jobs", "tasks", "workers", "stack", "framemill")


@dataclass(frozen=True)
class Module:
    """One Python file of the product."""

    name: str
    path: Path
    #: Path from the checkout's root, with ``src/`` left out.
    relative: Path
    text: str = field(repr=False)

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def folder(self) -> str:
        """Dotted name of the folder that holds the file."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @cached_property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, str(self.path))


class Checkout:
    """The tracked files of one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.files = list(_tracked(self.root))
        found = (self._module(path) for path in self.files if path.suffix == ".py")
        self.modules = {module.name: module for module in found if module is not None}

    def _module(self, path: Path) -> Module | None:
        relative = path.relative_to(self.root)
        parts = relative.parts[1:] if relative.parts[0] == "src" else relative.parts
        if parts[0] not in PACKAGES:
            return None
        names = [*parts[:-1], path.stem] if path.stem != "__init__" else list(parts[:-1])
        return Module(".".join(names), path, Path(*parts), path.read_text(encoding="utf-8"))

    def imports(self, module: Module) -> set[str]:
        """Names of the product's modules that ``module`` imports anywhere.

        Imports inside functions and below ``if TYPE_CHECKING`` count. ``from package import name`` names the
        submodule where there is one, else the package.
        """
        names: set[str] = set()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Import):
                names |= {name for alias in node.names if (name := self._known(alias.name))}
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    if name := self._known(f"{node.module}.{alias.name}") or self._known(node.module):
                        names.add(name)
        return names - {module.name}

    def string_imports(self, module: Module) -> set[str]:
        """Names of the product's modules that stand in a string literal of ``module``, alone or before a colon."""
        docstrings = {id(node) for node in _docstrings(module.tree)}
        texts = (
            node.value
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        )
        names = (text.partition(":")[0].partition("+")[0] for text in texts if "." in text and " " not in text)
        known = {name for text in names if (name := self._known(text) or self._known(text.rpartition(".")[0]))}
        return {name for name in known if "." in name and name != module.name}

    def _known(self, name: str) -> str | None:
        return name if name in self.modules else None


def _docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _tracked(root: Path) -> Iterator[Path]:
    """Files that git tracks or would track; those deleted from the work tree are left out."""
    # As root git refuses another user's folder unless told not to.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    for name in sorted(filter(None, set(names))):
        path = root / name
        if path.is_file() and not path.is_symlink():
            yield path


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components with more than one node, largest first (Tarjan's algorithm, without recursion)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    components: list[list[str]] = []
    for root in sorted(graph):
        if root in index:
            continue
        work: list[tuple[str, Iterator[str]]] = [(root, iter(sorted(graph[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    stack.append(successor)
                    on_stack.add(successor)
                    work.append((successor, iter(sorted(graph.get(successor, ())))))
                    break
                if successor in on_stack:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component: list[str] = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    components.append(sorted(component))
    return sorted((one for one in components if len(one) > 1), key=lambda one: (-len(one), one))


def module_graph(checkout: Checkout, *, strings: bool = False) -> dict[str, set[str]]:
    """Module → modules that it imports; with ``strings``, also those it names in a string."""
    return {
        module.name: checkout.imports(module) | (checkout.string_imports(module) if strings else set())
        for module in checkout.modules.values()
    }


def folder_graph(checkout: Checkout) -> dict[str, set[str]]:
    """Folder → other folders that its modules import from. A module directly in a package stands for itself."""

    def place(module: Module) -> str:
        return module.folder if "." in module.folder else module.name

    folders: dict[str, set[str]] = {place(module): set() for module in checkout.modules.values()}
    for module in checkout.modules.values():
        targets = {place(checkout.modules[name]) for name in checkout.imports(module)}
        folders[place(module)] |= targets - {place(module)}
    return folders


def functions(modules: Iterable[Module]) -> Iterator[tuple[Module, str, int]]:
    """Every function and method with its name and number of lines, decorators included."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield module, node.name, (node.end_lineno or first) - first + 1


def public_names(module: Module) -> Iterator[str]:
    """Names of the classes and functions that ``module`` defines at its top level, without a leading underscore."""
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
