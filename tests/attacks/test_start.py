"""Settings that cannot work are reported in one line before anything starts, in the same way by every command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from jobs.errors import BadSetting
from jobs.settings import PROJECT_ROOT, Settings, environment
from jobs.startup import check_open_address, verify
from stack.embedded_redis.binary import find_binary
from tasks import flower
from tests.support.api import wait_for
from tests.support.harness import Stack
from tests.support.s3_server import S3Server

COMMANDS = {
    "stack": (sys.executable, "-m", "stack", "up"),
    "web": (Path(sys.executable).parent / "gunicorn", "app:create_app()"),
    "worker": (Path(sys.executable).parent / "celery", "-A", "tasks", "worker", "-Q", "gpu0"),
    "flower": (Path(sys.executable).parent / "celery", "-A", "tasks", "flower", "--address=127.0.0.1"),
}
KEYS = (sys.executable, "-m", "app.keys", "list")
#: With all characters that mean something in an address.
PASSWORD = "p:a/s?s#w[o]r@d%41+&= ä"


@pytest.fixture(scope="module")
def locked_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Yield the port of a Redis with a password."""
    folder = tmp_path_factory.mktemp("redis")
    port = 21_000 + os.getpid() % 10_000
    options = ["--port", str(port), "--bind", "127.0.0.1", "--requirepass", PASSWORD, "--save", "", "--dir", folder]
    server = subprocess.Popen([find_binary().path, *options], stdout=subprocess.DEVNULL)

    def answers() -> bool:
        try:
            return bool(redis.Redis(port=port, password=PASSWORD).ping())
        except redis.ConnectionError:
            return False

    try:
        wait_for(answers, "Redis")
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("WEB_PROCESSES", "0", "must be at least 1"),
        ("PORT", "0", "must be between 1 and 65535"),
        ("PORT", "99999", "must be between 1 and 65535"),
        ("FLOWER_PORT", "65536", "must be between 1 and 65535"),
        ("HEARTBEAT_S", "0", "must be more than 0"),
        ("REDIS_TIMEOUT_S", "0", "must be more than 0"),
        ("MAX_ATTEMPTS", "0", "must be at least 1"),
        ("REDIS_URL", "http://127.0.0.1:6379", "must start with redis://"),
        ("REDIS_URL", "127.0.0.1:6379", "must start with redis://"),
        ("REDIS_URL", "redis://:pa#zzword@127.0.0.1:6379/0", "percent-encoded"),
        ("REDIS_URL", "redis://:pa/zzword@127.0.0.1:6379/0", "percent-encoded"),
        ("REDIS_URL", "redis://:pa?zzword@127.0.0.1:6379/0", "percent-encoded"),
        ("REDIS_URL", "redis://:pa[zzword@127.0.0.1:6379/0", "percent-encoded"),
        ("REDIS_URL", "redis://127.0.0.1:6379/jobs", "must end in the number of a database"),
        ("REDIS_URL", "redis:///0", "must name a host"),
        ("REDIS_URL", "unix:", "must start with redis://"),
        ("REDIS_URL", "rediss://127.0.0.1:6379/0?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_work_is_named(variable: str, value: str, rule: str) -> None:
    with pytest.raises(BadSetting, match=rule) as caught:
        Settings.from_env({variable: value})
    assert caught.value.message.startswith(variable)
    assert "\n" not in caught.value.message
    assert "zzword" not in caught.value.message


@pytest.mark.parametrize(
    "url",
    ["", "redis://127.0.0.1", "redis://user:p%23ss@127.0.0.1:6379/15", "redis://:p@ss@[::1]:6379/0", "unix:///r.sock",
     "rediss://:p@host.example:6380/0?ssl_cert_reqs=required"],
)  # fmt: skip
def test_an_address_that_can_work_is_taken(url: str) -> None:
    assert Settings.from_env({"REDIS_URL": url}).redis.url == url


def refused(settings: Settings) -> str:
    """Return the message of the check of settings."""
    with pytest.raises(BadSetting) as caught:
        verify(settings)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_what_settings_refer_to_is_checked(tmp_path: Path, drawn_models_file: Path, locked_port: int) -> None:
    good = Settings.of(data_dir=tmp_path, models_file=drawn_models_file)
    verify(good)

    def check(**changes: Any) -> str:
        return refused(good.replace(**changes))

    assert check(models_file=tmp_path / "none.toml").startswith("MODELS_FILE ")
    assert check(api_keys="shop:short").startswith("API_KEYS entry 1 must be ")
    file = tmp_path / "file"
    file.touch()
    assert check(data_dir=file / "var").startswith("DATA_DIR: the folder ")
    assert check(spool_dir=file / "spool").startswith("SPOOL_DIR: the folder ")
    for password in ("", ":wrong@"):
        message = check(redis_url=f"redis://{password}127.0.0.1:{locked_port}/0")
        assert message.startswith("REDIS_URL is refused by Redis: ")
        assert "wrong" not in message
    right = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{locked_port}"
    assert "DB index" in check(redis_url=f"{right}/99")
    verify(good.replace(redis_url=f"{right}/0"))
    verify(good.replace(redis_url="redis://127.0.0.1:9/0"))  # the server waits for it


def test_an_open_address_needs_a_key(tmp_path: Path, locked_port: int) -> None:
    url = f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{locked_port}/0"
    check_open_address(Settings.of(redis_url=url))
    check_open_address(Settings.of(redis_url=url, host="0.0.0.0", api_keys="shop:secret-of-the-shop"))
    with pytest.raises(BadSetting, match=r"^HOST 0\.0\.0\.0 is refused: there are no keys yet"):
        check_open_address(Settings.of(redis_url=url, host="0.0.0.0"))


_PORT = ("PORT", "99999", "cannot start: PORT must be between 1 and 65535 (got 99999)")
_FILE = ("MODELS_FILE", "/none.toml", "cannot start: MODELS_FILE /none.toml cannot be read: No such file or directory")


@pytest.mark.parametrize(
    ("command", "variable", "value", "line"),
    [(name, *case) for name in COMMANDS for case in (_PORT, _FILE)[: 1 if name == "flower" else 2]],
)
def test_every_command_says_the_same_line_and_starts_nothing(
    tmp_path: Path, command: str, variable: str, value: str, line: str
) -> None:
    assert end_of(COMMANDS[command], tmp_path, **{variable: value}) == line
    assert not list(tmp_path.rglob("*.sock")) + list(tmp_path.rglob("*.pid"))


@pytest.mark.parametrize("command", [*COMMANDS, "keys"])
def test_every_command_says_that_redis_refuses_its_password(tmp_path: Path, locked_port: int, command: str) -> None:
    line = end_of(COMMANDS.get(command, KEYS), tmp_path, REDIS_URL=f"redis://:wrong@127.0.0.1:{locked_port}/0")
    begin = "app.keys" if command == "keys" else "cannot start"
    assert line.startswith(f"{begin}: REDIS_URL is refused by Redis: invalid username-password pair")


def test_what_loads_a_missing_model_does_not_start(tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    models.write_text("[m]\nkinds = ['text2img']\nsource = './gone'\n")
    line = f"cannot start: {models}:3: [m] source: there is no folder {tmp_path}/gone"
    for command in ("stack", "worker"):
        assert end_of(COMMANDS[command], tmp_path / "data", MODELS_FILE=str(models)) == line


def test_a_bucket_that_an_operator_has_to_correct_is_named(tmp_path: Path, s3: S3Server, locked_port: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        good = Settings.from_env({**s3.environment, "DATA_DIR": str(tmp_path)})
        assert not [note for note in verify(good) if "S3" in note]
        assert not [name for name in s3.files() if "write-check" in name]
        message = refused(good.replace(s3_bucket="missing"))
        assert message == f"S3_BUCKET missing at {s3.url}: S3 refused: the bucket does not exist (NoSuchBucket)"
        away = good.replace(s3_endpoint_url="http://127.0.0.1:9")
        assert "outputs cannot be stored yet: S3 cannot be used: EndpointConnectionError" in verify(away)
        full = good.replace(min_free_disk_bytes=2**60)
        assert any("MIN_FREE_DISK_BYTES is" in note for note in verify(full))
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        assert refused(good).endswith("S3 refused: the secret key is wrong (SignatureDoesNotMatch)")


def test_flower_finds_what_the_file_of_settings_says_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {"FLOWER_PORT": "5777", "FLOWER_BASIC_AUTH": "anna:secret"}
    monkeypatch.setattr(environment, "dotenv_values", lambda file, **_: lines)
    for name in lines:
        monkeypatch.setenv(name, "")  # also removes what the test sets
    flower.prepare_if_started()
    assert os.environ["FLOWER_PORT"] == ""  # this process is not Flower
    monkeypatch.setattr(sys, "argv", ["/bin/celery", "-A", "tasks", "flower"])
    flower.prepare_if_started()
    assert {name: os.environ[name] for name in lines} == lines


@pytest.mark.parametrize(
    ("options", "environment", "reason"),
    [
        ((), {}, "would serve all addresses without a login"),
        (("--address=0.0.0.0",), {}, "would serve 0.0.0.0 without a login"),
        (("--address=::1",), {"FLOWER_URL_PREFIX": "a"}, "has FLOWER_URL_PREFIX, as behind a proxy, and no login"),
    ],
)
def test_flower_serves_others_with_a_login_only(
    tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], reason: str
) -> None:
    line = end_of((*COMMANDS["flower"][:-1], *options), tmp_path, **environment)
    assert line.startswith(f"cannot start: Flower {reason}: set FLOWER_BASIC_AUTH=user:password")


def test_a_password_with_odd_characters_opens_redis_for_every_process(
    start: Callable[..., Stack], locked_port: int
) -> None:
    stack = start("gpu0", "io", REDIS_URL=f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{locked_port}/0")
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    listed = subprocess.run(
        KEYS, cwd=PROJECT_ROOT, env={**os.environ, **stack.environment}, capture_output=True, text=True, timeout=60
    )
    assert (listed.returncode, listed.stdout, listed.stderr) == (0, "", "")


def end_of(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """Return the last line of a command that cannot start."""
    environment = {**os.environ, "DATA_DIR": str(folder), "C_FORCE_ROOT": "1", **environment}
    ended = subprocess.run(
        command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stdout + ended.stderr
    return ended.stderr.splitlines()[-1]
