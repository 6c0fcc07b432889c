"""``framemill doctor`` and the checks before a start: each part that does not work is named, with what to do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from framemill.cli import main
from jobs.settings import PROJECT_ROOT, Settings
from stack import checks, ports
from stack.embedded_redis.server import EmbeddedRedis
from tests.support.fake_server import FakeServer, serving
from tests.support.s3_server import S3Server

NAMES = ["settings", "models", "keys", "disk", "redis", "store", "devices", "ports"]


@pytest.fixture
def good(short_folder: Path, drawn_models_file: Path) -> Settings:
    """Return settings with which everything works."""
    port = ports.next_free("127.0.0.1", 12_000 + 101 * os.getpid() % 7_000)
    flower = ports.next_free("127.0.0.1", port + 1)
    return Settings.of(data_dir=short_folder, models_file=drawn_models_file, port=port, flower_port=flower)


def states(settings: Settings, **options: Any) -> dict[str, str]:
    return {finding.name: finding.state for finding in checks.findings(settings, **options)}


def only(settings: Settings, name: str) -> tuple[str, str]:
    """Return state and text of the one finding that is not in order, which must have this name."""
    [finding] = [one for one in checks.findings(settings) if one.state != "ok"]
    assert finding.name == name
    return finding.state, finding.text


def test_everything_is_checked(good: Settings) -> None:
    assert states(good) == dict.fromkeys(NAMES, "ok")
    assert not list(good.paths.objects_dir.rglob("*.*")), "the file of the check was left behind"


def test_what_does_not_work_is_named(good: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert only(good.replace(models_file=tmp_path / "none.toml"), "models")[0] == "problem"
    assert only(good.replace(api_keys="shop:short"), "keys")[0] == "problem"
    assert only(good.replace(min_free_disk_bytes=2**60), "disk")[0] == "note"
    state, text = only(good.replace(redis_url="redis://127.0.0.1:1/0"), "redis")
    assert (state, "waited for" in text) == ("note", True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        state, text = only(good.replace(port=taken.getsockname()[1]), "ports")
    assert (state, f"(pid {os.getpid()})" in text) == ("problem", True)
    state, text = only(good.replace(trusted_proxies="127.0.0.1"), "settings")
    assert (state, "it is unknown whether there are API keys" in text) == ("note", True)
    monkeypatch.setattr(checks, "_LIBRARIES", ("torch", "no_such_library"))
    assert only(good, "devices") == ("problem", "not installed: no_such_library")


def test_a_running_redis_is_seen(good: Settings) -> None:
    with EmbeddedRedis(good):
        assert "there are no API keys" in only(good.replace(trusted_proxies="127.0.0.1"), "settings")[1]
        [finding] = [one for one in checks.findings(good) if one.name == "redis"]
    assert finding.text == f"runs on {good.redis_socket}"


def test_a_bucket_is_written_and_read(good: Settings, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_env({**s3.environment, "DATA_DIR": str(good.paths.data_dir), "PORT": str(good.web.port),
                                  "MODELS_FILE": str(good.paths.models_file)})  # fmt: skip
    before = s3.files()
    [finding] = [one for one in checks.findings(settings) if one.name == "store"]
    assert (finding.state, finding.text) == ("ok", "bucket media: a file was written, read and removed")
    assert s3.files() == before


@pytest.fixture
def environ(good: Settings, tmp_path: Path) -> dict[str, str]:
    own = {"DATA_DIR": good.paths.data_dir, "MODELS_FILE": good.paths.models_file, "PORT": good.web.port,
           "FLOWER_PORT": good.web.flower_port, "XDG_CONFIG_HOME": tmp_path,
           "FRAMEMILL_URL": f"http://127.0.0.1:{good.web.port}"}  # fmt: skip
    return {**os.environ, **{name: str(value) for name, value in own.items()}}


def doctor(environ: dict[str, str], *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "framemill", "doctor", *words]
    done = subprocess.run(command, cwd=PROJECT_ROOT, env=environ, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def test_the_command_checks_server_and_checkout(environ: dict[str, str]) -> None:
    code, out = doctor(environ)
    lines = [line.split()[:2] for line in out.splitlines() if not line.startswith(" ")]
    assert (code, lines) == (0, [["!", "server"], *(["✓", name] for name in NAMES)]), out
    assert "→ start it: framemill up" in out
    code, out = doctor({**environ, "PORT": "none"}, "--json")
    found = json.loads(out)["findings"]
    assert (code, [one["name"] for one in found]) == (1, ["server", "settings"])
    assert found[1]["text"].startswith("PORT ")
    # A start waits for Redis; here it is asked whether it works.
    code, out = doctor({**environ, "REDIS_URL": "redis://127.0.0.1:1/0"})
    assert (code, "✗ redis" in out) == (1, True), out


def checked(server: FakeServer, capsys: pytest.CaptureFixture[str], *responses: Any) -> tuple[int, list[list[str]]]:
    server.first = [*responses]
    code = main(["--url", server.url, "doctor"])
    return code, [line.split()[:2] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]


def test_the_server_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr("framemill.cli.commands.machine.doctor.find_checkout", lambda: None)
    ready: dict[str, Any] = {"status": "ready", "missing": [], "warnings": [], "slots": ["gpu0"]}
    with serving() as server:
        assert checked(server, capsys, (200, ready, {})) == (0, [["✓", "server"], ["✓", "key"]])
        refused = (401, {"detail": "no"}, {})
        assert checked(server, capsys, (200, ready, {}), refused) == (1, [["✓", "server"], ["✗", "key"]])
        lacking = {**ready, "missing": ["no GPU worker is running"], "warnings": ["jobs wait"]}
        found = [["✗", "server"], ["!", "server"], ["✓", "key"]]
        assert checked(server, capsys, (503, lacking, {})) == (1, found)
        assert checked(server, capsys, (200, {"hello": "world"}, {})) == (1, [["✗", "server"]])
        url = server.url
    assert main(["--url", url, "doctor"]) == 1
    assert "does not answer" in capsys.readouterr().out
