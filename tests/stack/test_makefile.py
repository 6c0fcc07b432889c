"""``make`` as the documentation prints it: the command of each target, with its variables."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT, Settings

#: Replaces the interpreter of an installed environment: prints its arguments and variables.
STUB = f"""#!{sys.executable}
import json, os, sys
print(json.dumps([sys.argv[1:], dict(os.environ)]))
"""
#: Commands with ``make`` in the documentation. Two targets do not run the environment's Python.
PRINTED = sorted(
    {
        command
        for page in (PROJECT_ROOT / "README.md", *PROJECT_ROOT.glob("docs/**/*.md"))
        for command in re.findall(r"(?m)^(?:[A-Z_]+=\S+ )*make [a-z][\w -]*(?: [A-Z_]+=\w+)*$", page.read_text())
        if not re.search("make (setup|clean)", command)
    }
)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Return variables for ``make`` with a stub in place of the environment."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "ruff", "mypy", "lint-imports"):
        stub = tmp_path / "bin" / name
        stub.write_text(STUB)
        stub.chmod(0o755)
    (tmp_path / ".setup-done").touch()
    (tmp_path / ".tools-done").touch()
    return {**os.environ, "VENV": str(tmp_path)}


def given(environment: dict[str, str], *words: str) -> tuple[list[str], dict[str, str]]:
    """Run ``make`` and return the arguments and variables of the first command."""
    return all_given(environment, *words)[0]


def all_given(environment: dict[str, str], *words: str) -> list[tuple[list[str], dict[str, str]]]:
    """Run ``make`` and return the arguments and variables of each command."""
    outer = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")  # of the ``make`` that runs the tests
    environment = {name: value for name, value in environment.items() if name not in outer}
    done = subprocess.run(
        ["make", *words], cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(*json.loads(line),) for line in done.stdout.splitlines() if line.startswith("[")]


def test_the_number_of_web_servers(environment: dict[str, str]) -> None:
    arguments, variables = given(environment, "up", "WEB_SERVERS=2")
    assert arguments == ["-m", "stack", "up", "--services", "2"]
    assert Settings.from_env({**variables, "DATA_DIR": "/nowhere"}).devoid.services == ""


def test_the_services_of_devoid_are_a_setting(environment: dict[str, str]) -> None:
    arguments, variables = given({**environment, "SERVICES": "telegram:a_long_service_key"}, "up")
    assert arguments == ["-m", "stack", "up", "--services", "1"]
    assert variables["SERVICES"] == "telegram:a_long_service_key"


@pytest.mark.parametrize("command", PRINTED)
def test_a_printed_command_runs(environment: dict[str, str], command: str) -> None:
    assigned, _, target = command.partition("make ")
    variables = dict(pair.split("=", 1) for pair in assigned.split())
    given({**environment, **variables}, *target.split())


def test_setup_installs_what_running_needs_and_the_tests_their_tools(environment: dict[str, str]) -> None:
    for stamp in (".setup-done", ".tools-done"):
        (Path(environment["VENV"]) / stamp).unlink()
    running = ["-m", "stack.environment", "--torch", "torch==2.13.0", "server,worker"]
    tools = ["-m", "stack.environment", "test"]
    assert [arguments for arguments, _ in all_given(environment, "setup")] == [running]
    assert [arguments for arguments, _ in all_given(environment, "setup")] == []
    assert [arguments for arguments, _ in all_given(environment, "lint")] == [tools, ["check", "."], [], []]
    assert given(environment, "up")[0][:3] == ["-m", "stack", "up"]
