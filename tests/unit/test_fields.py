"""How many files a field of a request or of a job touches: the lists of ``docs/architecture.md``.

Counted are the modules that have the field's name in their code. The documentation of the API comes on top. Other
protocols and back ends that are servers of others may have the field, too.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT

PACKAGES = ("app", "jobs", "workers", "src/framemill")
#: What a new field may leave alone: other protocols, servers of others, infotexts.
OPTIONAL = (
    "app/payloads", "app/protocols/a1111", "app/protocols/aime", "app/protocols/devoid", "app/protocols/lightx2v",
    "jobs/requests/infotext.py", "workers/remote",
)  # fmt: skip
LISTS = {
    "hires": {
        "app/protocols/native/schemas.py", "jobs/requests/generation.py", "jobs/requests/hires_variation_prior.py",
        "src/framemill/cli/submit.py", "src/framemill/job_fields.py", "workers/diffusion/generate.py",
    },
    # ``jobs/store/lua/include/queue.lua`` uses it.
    "priority": {
        "app/protocols/native/schemas.py", "jobs/record.py", "src/framemill/cli/submit.py",
        "src/framemill/job_fields.py",
    },
}  # fmt: skip


def names_in(path: Path) -> set[str]:
    """Names, attributes, arguments and texts in the code of a module."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for attribute in ("id", "attr", "arg", "value"):
            name = getattr(node, attribute, None)
            if isinstance(name, str):
                names.add(name.lstrip("-"))  # an option of the command
    return names


@pytest.mark.parametrize("field", LISTS)
def test_a_field_touches_the_listed_modules_only(field: str) -> None:
    modules = {
        name
        for package in PACKAGES
        for path in (PROJECT_ROOT / package).rglob("*.py")
        if not (name := str(path.relative_to(PROJECT_ROOT))).startswith(OPTIONAL) and field in names_in(path)
    }
    assert modules == LISTS[field]
