"""The measures of ``bench/structure.py`` on trees with known figures."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.source_tree import Checkout, circles, folder_graph, functions, module_graph, public_names

Make = Callable[[dict[str, str]], Checkout]


@pytest.fixture
def checkout(tmp_path: Path) -> Make:
    """``checkout({path: text})``: return a repository with these files."""

    def make(files: dict[str, str]) -> Checkout:
        subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Checkout(tmp_path)

    return make


def test_imports_count_wherever_they_stand(checkout: Make) -> None:
    tree = checkout(
        {
            "jobs/__init__.py": "",
            "jobs/a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jobs import b\n",
            "jobs/b.py": "def late():\n    import jobs.c\n",
            "jobs/c.py": "from jobs.a import Name\nimport json\n",
            "src/framemill/d.py": "from jobs import c as e\n",
        }
    )
    assert module_graph(tree) == {
        "jobs": set(),
        "jobs.a": {"jobs.b"},
        "jobs.b": {"jobs.c"},
        "jobs.c": {"jobs.a"},
        "framemill.d": {"jobs.c"},
    }
    assert circles(module_graph(tree)) == [["jobs.a", "jobs.b", "jobs.c"]]
    assert folder_graph(tree) == module_graph(tree)


def test_a_folder_below_a_package_is_one_place_and_modules_beside_it_are_their_own(checkout: Make) -> None:
    tree = checkout(
        {
            "jobs/record.py": "from jobs.requests import generation\n",
            "jobs/requests/generation.py": "from jobs.requests import parts\nimport jobs.errors\n",
            "jobs/requests/parts.py": "import jobs.errors\n",
            "jobs/errors.py": "",
        }
    )
    assert folder_graph(tree) == {
        "jobs.record": {"jobs.requests"},
        "jobs.requests": {"jobs.errors"},
        "jobs.errors": set(),
    }


def test_a_module_named_in_a_string_is_an_import_only_if_asked_for(checkout: Make) -> None:
    tree = checkout(
        {
            "tasks/a.py": '"""Not tasks.b itself."""\nRUN = "workers.c:run"\n',
            "workers/c.py": "import tasks.a\nTEXT = 'see workers.c'\n",
        }
    )
    assert circles(module_graph(tree)) == []
    assert circles(module_graph(tree, strings=True)) == [["tasks.a", "workers.c"]]


def test_circles_are_found_apart_and_the_largest_comes_first() -> None:
    graph = {"a": {"b"}, "b": {"a"}, "c": {"d"}, "d": {"e", "a"}, "e": {"c"}, "f": {"a", "c"}}
    assert circles(graph) == [["c", "d", "e"], ["a", "b"]]


def test_functions_count_their_decorators_and_names_that_are_private_do_not_count(checkout: Make) -> None:
    text = "@one\n@two\ndef public():\n    def inner():\n        pass\n\nclass _Own:\n    def method(self): ...\n"
    module = checkout({"app/a.py": text}).modules["app.a"]
    assert sorted(functions([module]), key=lambda entry: -entry[2]) == [
        (module, "public", 5), (module, "inner", 2), (module, "method", 1)
    ]  # fmt: skip
    assert list(public_names(module)) == ["public"]
