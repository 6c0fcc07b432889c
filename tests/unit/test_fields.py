"""The number of files that a field of a request or of a job touches: the lists of ``docs/architecture.md``.

A module counts if its code has the name of the field. The API documentation comes on top. Other protocols and back ends
may use the field as well.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT

PACKAGES = ("app", "jobs", "workers", "src/framemill")
#: Modules that need no change for a new field: other protocols, back ends, infotexts.
OPTIONAL = (
    "app/payloads", "app/protocols/a1111", "app/protocols/aime", "app/protocols/devoid", "app/protocols/huggingface",
    "app/protocols/lightx2v", "app/protocols/mcp", "app/protocols/openai", "app/protocols/replicate",
    "jobs/requests/infotext.py", "workers/remote",
)  # fmt: skip
LISTS = {
    "hires": {
        "app/openapi/requests.py", "app/protocols/native/wire/schemas.py", "jobs/model_commands.py",
        "jobs/requests/generation.py", "jobs/requests/pictures/controls.py",
        "jobs/requests/hires_variation_prior.py",
        "src/framemill/cli/commands/jobs/submit_options.py", "src/framemill/job_fields.py",
        "workers/diffusion/run.py",
    },
    # ``jobs/store/lua/include/queue.lua`` uses it.
    "priority": {
        "app/protocols/native/wire/answers.py", "app/protocols/native/wire/schemas.py", "jobs/record.py",
        "src/framemill/cli/commands/jobs/submit_options.py",
        "src/framemill/job_fields.py",
    },
}  # fmt: skip


def names_in(path: Path) -> set[str]:
    """Return the names, attributes, arguments and strings in the code of a module."""
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
