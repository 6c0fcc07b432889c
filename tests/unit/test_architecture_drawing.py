"""The drawing of the folders in ``docs/architecture.md`` matches the imports.

A node stands for a folder with everything below it that has no node of its own, or for the named modules of a folder:
``store["jobs/store"]``, ``base["jobs: errors, log"]``. An arrow means "imports from". Arrows that follow from others
are left out, so the drawn arrows are the transitive reduction of the imports between the nodes.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.source_tree import Checkout, Module, circles

ROOT = Path(__file__).parents[2]
Graph = dict[str, set[str]]


@pytest.fixture(scope="module")
def checkout() -> Checkout:
    return Checkout(ROOT)


@pytest.fixture(scope="module")
def drawing() -> str:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    found = re.findall(r"^```mermaid\n(flowchart .*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, "docs/architecture.md has one flowchart"
    return str(found[0])


@pytest.fixture(scope="module")
def nodes(drawing: str) -> dict[str, str]:
    """Return the label of each node by its name."""
    return dict(re.findall(r'^ *(\w+)\["([^"]+)"\]$', drawing, re.MULTILINE))


def node_of(module: Module, nodes: dict[str, str]) -> str:
    """Return the node that stands for a module."""
    matches: dict[str, str] = {}
    for node, label in nodes.items():
        folder, _, listed = (part.strip() for part in label.replace("<br/>", " ").partition(":"))
        prefix = folder.rstrip("/").replace("/", ".")
        if listed:
            names = {f"{prefix}.{name.strip()}" for name in listed.split(",")}
            if module.name in names or (module.name == prefix and module.is_package):
                matches[node] = module.name
        elif module.name == prefix or module.name.startswith(prefix + "."):
            matches[node] = prefix
    assert matches, f"no node of the drawing stands for {module.relative}"
    return max(matches, key=lambda node: len(matches[node]))


def with_code(checkout: Checkout) -> list[Module]:
    """Return every module except packages that consist of a docstring."""
    return [module for module in checkout.modules.values() if not module.is_package or len(module.tree.body) > 1]


def imports_between(checkout: Checkout, nodes: dict[str, str]) -> Graph:
    places = {module.name: node_of(module, nodes) for module in with_code(checkout)}
    graph: Graph = {node: set() for node in nodes}
    for module in with_code(checkout):
        graph[places[module.name]] |= {places[name] for name in checkout.imports(module) if name in places}
    return {node: targets - {node} for node, targets in graph.items()}


def reachable(graph: Graph, start: str) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        node = waiting.pop()
        if node not in reached:
            reached.add(node)
            waiting += graph[node]
    return reached


def reduced(graph: Graph) -> Graph:
    """Return the arrows that do not follow from others; ``graph`` has no circle."""
    return {
        node: {
            target for target in targets if not any(target in reachable(graph, other) for other in targets - {target})
        }
        for node, targets in graph.items()
    }


def test_the_rooms_form_no_circle(checkout: Checkout, nodes: dict[str, str]) -> None:
    assert circles(imports_between(checkout, nodes)) == []


def test_the_arrows_are_the_imports(checkout: Checkout, drawing: str, nodes: dict[str, str]) -> None:
    drawn = {(source, target) for source, target in re.findall(r"^ *(\w+) --> (\w+)$", drawing, re.MULTILINE)}
    real = {(node, target) for node, targets in reduced(imports_between(checkout, nodes)).items() for target in targets}
    assert drawn == real, f"to draw: {sorted(real - drawn)}; to remove: {sorted(drawn - real)}"


def test_every_node_stands_for_something(checkout: Checkout, nodes: dict[str, str]) -> None:
    used = {node_of(module, nodes) for module in with_code(checkout)}
    assert used == nodes.keys()
    for label in nodes.values():
        folder, _, listed = (part.strip() for part in label.replace("<br/>", " ").partition(":"))
        prefix = folder.rstrip("/").replace("/", ".")
        names = {f"{prefix}.{name.strip()}" for name in listed.split(",")} if listed else {prefix}
        assert names <= checkout.modules.keys(), f"{label}: {names - checkout.modules.keys()}"


def test_a_reduction_leaves_out_what_follows() -> None:
    assert reduced({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}
