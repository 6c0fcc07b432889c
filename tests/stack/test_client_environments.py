"""The pins of other people's clients, and what their absence does to a test."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.support import clients

PINS = sorted(clients.PINS.glob("*.txt"))


@pytest.mark.parametrize("pins", PINS, ids=lambda path: path.stem)
def test_every_package_of_an_environment_has_its_version(pins: Path) -> None:
    lines = [line for line in pins.read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.+-]+", line)] == []


@pytest.mark.parametrize("folder", sorted(clients.PINS.glob("npm*")), ids=lambda path: path.name)
def test_the_packages_of_node_have_versions_and_digests_and_no_address(folder: Path) -> None:
    lock = json.loads((folder / "package-lock.json").read_text())
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    packages = {name.rpartition("node_modules/")[2]: one for name, one in lock["packages"].items() if name}
    assert wanted == {name: packages[name]["version"] for name in wanted}
    assert all("integrity" in package and "resolved" not in package for package in packages.values())


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(clients, "INSTALLED", tmp_path / "clients")
    monkeypatch.setattr(clients, "PINS", tmp_path)
    (tmp_path / "unknown.txt").write_text("framemill-has-no-such-package==1\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.mark.usefixtures("no_tools")
def test_a_test_without_its_tool_is_skipped_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="nodejs"):
        clients.node()
    with pytest.raises(pytest.skip.Exception, match="framemill-has-no-such-package"):
        clients.python("unknown")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match="nodejs"):
        clients.node()


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "INSTALLED", tmp_path / "clients")
    monkeypatch.setattr(clients, "PINS", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "empty.txt").write_text("# Nothing.\n")
    interpreter = clients.python("empty")
    program = tmp_path / "program.py"
    program.write_text("import sys\nprint(sys.prefix)\nimport pytest\n")
    with pytest.raises(AssertionError, match="No module named 'pytest'"):
        clients.run(interpreter, program)
    mark = tmp_path / "clients" / "empty" / "mark"
    mark.touch()
    clients.python("empty")
    assert mark.exists()
    (tmp_path / "empty.txt").write_text("# Still nothing.\n")
    clients.python("empty")
    assert not mark.exists()
