"""Measure the structure of a checkout: ``python -m bench.structure [CHECKOUT] [--tests] [--lists]``.

Nothing of the checkout is run, except that ``--tests`` lets pytest collect its tests. Two checkouts are compared by
running this twice. ``bench/RESULTS.md`` explains the figures.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from bench.common import table
from bench.source_tree import Checkout, circles, folder_graph, functions, module_graph, public_names
from bench.tests_by_level import LEVELS, count

Row = tuple[str, object, str]

#: Folders whose lines are counted, in this order; the client is ``framemill`` or ``src``.
_FOLDERS = ("jobs", "tasks", "workers", "app", "stack", "framemill", "src", "tests", "bench", "models/training", "docs")
_LINE_LIMITS = (200, 350)
_FUNCTION_LINES = 60


def _folders(checkout: Checkout) -> Iterator[Row]:
    for suffix, what in ((".py", "Python modules"), (".lua", "Lua scripts")):
        holds = Counter(
            path.parent.relative_to(checkout.root)
            for path in checkout.files
            if path.suffix == suffix and path.relative_to(checkout.root).parts[0] not in ("tests", "bench", "models")
        )
        folder, number = max(holds.items(), key=lambda item: item[1], default=(Path("-"), 0))
        more = sum(number > 16 for number in holds.values())
        yield f"{what} in the widest folder", number, f"{folder}; {more} folders with more than 16"


def _circles(checkout: Checkout, lists: bool) -> Iterator[Row]:
    for what, graph in (
        ("modules", module_graph(checkout)),
        ("modules, names in strings included", module_graph(checkout, strings=True)),
        ("folders", folder_graph(checkout)),
    ):
        found = circles(graph)
        largest = f"largest: {len(found[0])} {what.partition(',')[0]}" if found else ""
        yield f"import circles between {what}", len(found), largest
        if lists:
            for one in found:
                yield "", "", ", ".join(one)
    hidden = sorted(
        f"{module.name} → {name}" for module in checkout.modules.values() for name in checkout.string_imports(module)
    )
    yield "modules named in a string by another module", len(hidden), "; ".join(hidden)


def _lengths(checkout: Checkout) -> Iterator[Row]:
    modules = checkout.modules.values()
    longest = max(modules, key=lambda module: module.lines)
    above = ", ".join(f"{sum(m.lines > limit for m in modules)} over {limit}" for limit in _LINE_LIMITS)
    yield "longest module, lines", longest.lines, f"{longest.relative}; {above}"
    scripts = [(len(path.read_text().splitlines()), path) for path in checkout.files if path.suffix == ".lua"]
    if scripts:
        lines, path = max(scripts)
        yield "longest Lua file, lines", lines, str(path.relative_to(checkout.root))
    every = sorted(functions(modules), key=lambda entry: -entry[2])
    module, name, lines = every[0]
    over = sum(lines > _FUNCTION_LINES for _, _, lines in every)
    yield "longest function, lines", lines, f"{name} in {module.relative}; {over} over {_FUNCTION_LINES}"


def _names(checkout: Checkout, lists: bool) -> Iterator[Row]:
    defined: dict[str, list[str]] = defaultdict(list)
    files: dict[str, list[str]] = defaultdict(list)
    for module in checkout.modules.values():
        for name in set(public_names(module)):
            defined[name].append(module.name)
        if not module.is_package:
            files[module.path.stem].append(module.folder)
    for what, places in (("public names", defined), ("file names", files)):
        shared = {name: where for name, where in places.items() if len(where) > 1}
        ordered = sorted(shared.items(), key=lambda item: (-len(item[1]), item[0]))
        listed = ", ".join(f"{name} {len(where)}" for name, where in ordered)
        yield f"{what} used for more than one thing", len(shared), listed
        if lists:
            for name, where in ordered:
                yield "", "", f"{name}: {', '.join(sorted(where))}"


def _lines(checkout: Checkout) -> Iterator[Row]:
    for folder in _FOLDERS:
        counts: Counter[str] = Counter()
        for path in checkout.files:
            if path.suffix in (".py", ".lua", ".md") and path.is_relative_to(checkout.root / folder):
                counts[path.suffix[1:]] += len(path.read_text(encoding="utf-8").splitlines())
        if counts:
            kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
            yield f"lines in {folder}", sum(counts.values()), kinds
    product = sum(module.lines for module in checkout.modules.values())
    scripts = sum(len(path.read_text().splitlines()) for path in checkout.files if path.suffix == ".lua")
    yield "lines of the product", product + scripts, f"{len(checkout.modules)} modules, {scripts} lines of Lua"


def _tests(checkout: Checkout) -> Iterator[Row]:
    levels = count(checkout.root)
    for level in (*LEVELS, *sorted(levels.keys() - set(LEVELS))):
        if level in levels:
            yield f"test functions of level {level}", levels[level].functions, f"{levels[level].cases} cases"
    totals = [sum(numbers) for numbers in zip(*levels.values(), strict=True)]
    yield "test functions", totals[0], f"{totals[1]} cases"


def report(checkout: Checkout, *, tests: bool = False, lists: bool = False) -> str:
    """Every figure of one checkout as a table.

    Args:
        checkout: the tree to measure.
        tests: also count the tests by level; pytest collects them, which imports torch.
        lists: also print every circle and every shared name.
    """
    rows: list[Sequence[object]] = []
    parts: Iterable[Iterator[Row]] = (
        _folders(checkout), _circles(checkout, lists), _lengths(checkout), _names(checkout, lists), _lines(checkout),
    )  # fmt: skip
    for part in parts:
        rows += part
    if tests:
        rows += _tests(checkout)
    return table(("what", "number", "where"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.structure", description="Measure the structure of a tree.")
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(), help="root of the checkout; default: here")
    parser.add_argument("--tests", action="store_true", help="count tests by level; lets pytest collect them")
    parser.add_argument("--lists", action="store_true", help="print every circle and every shared name")
    options = parser.parse_args()
    print(report(Checkout(options.checkout), tests=options.tests, lists=options.lists))
    return 0


if __name__ == "__main__":
    sys.exit(main())
