"""Count the collected tests of a checkout by level.

The level is the folder below ``tests``. In a checkout that keeps its tests in one folder, the level follows from the
fixtures of a test: ``stack`` if one of them starts processes, ``worker`` if one runs pipelines in this process,
``store`` if one starts a Redis, else ``neither``.

A copy of this file is also the pytest plugin that does the counting, so that the measured checkout is collected with
its own modules only; it must import nothing but the standard library.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

LEVELS = ("unit", "store", "http", "worker", "stack")

_PLUGIN = "framemill_tests_by_level"
_REPORT_VARIABLE = "FRAMEMILL_TESTS_BY_LEVEL"


class Count(NamedTuple):
    """Number of test functions, and of the cases that their parameters make of them."""

    functions: int
    cases: int


def count(root: Path) -> dict[str, Count]:
    """Let pytest collect the tests of a checkout.

    Returns:
        Counts by level.

    Raises:
        RuntimeError: pytest could not collect them; the message has the end of its output.
    """
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(__file__, Path(folder, f"{_PLUGIN}.py"))
        report = Path(folder, "levels.json")
        path = os.pathsep.join(map(str, (root / "src", root, folder)))
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", _PLUGIN, "-p", "no:cacheprovider"],
            cwd=root, env={**os.environ, "PYTHONPATH": path, _REPORT_VARIABLE: str(report)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if run.returncode or not report.is_file():
            raise RuntimeError(f"pytest could not collect the tests of {root}: {(run.stdout + run.stderr)[-1000:]}")
        return {level: Count(*numbers) for level, numbers in json.loads(report.read_text(encoding="utf-8")).items()}


def pytest_collection_finish(session: Any) -> None:
    """Called by pytest when this file is its plugin."""
    functions: dict[str, set[str]] = defaultdict(set)
    cases: dict[str, int] = defaultdict(int)
    for item in session.items:
        level = _level(item)
        functions[level].add(item.nodeid.partition("[")[0])
        cases[level] += 1
    counts = {level: (len(functions[level]), cases[level]) for level in cases}
    Path(os.environ[_REPORT_VARIABLE]).write_text(json.dumps(counts), encoding="utf-8")


def _level(item: Any) -> str:
    folder = next((part for part in Path(item.path).parts[::-1] if part in LEVELS), None)
    if folder:
        return folder
    fixtures = getattr(item, "_fixtureinfo", None)
    definitions = [one for several in (fixtures.name2fixturedefs.values() if fixtures else ()) for one in several]
    returned = " ".join(str(one.func.__annotations__.get("return", "")) for one in definitions)
    if re.search(r"\b(Stack|Up|Flower|Fleet)\b", returned):
        return "stack"
    if re.search(r"\bWorker\b", returned):
        return "worker"
    return "store" if re.search(r"\b(StoreDriver|FilesDriver|Iterator\[Settings\])", returned) else "neither"
