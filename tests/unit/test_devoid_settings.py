"""Settings of a Devoid Generator: its .env file is understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import BadSetting
from jobs.settings import Settings, environment

#: As its README shows it.
ENV = """
TEST_MODE = 1

LOGGING_LEVEL=WARN
SAVE_IMAGES_LOCALLY=0
IMAGES_PATH=gens/
MONGODB_URI=
S3_ENDPOINT=http://s3.example.org
S3_ACCESS_KEY='access'
S3_SECRET_KEY="secret # 1"
S3_BUCKET_NAME=media
S3_IMAGE_ENDPOINT=https://cdn.example.org/
SERVICES=telegram:service_key discord:service_key web:a:b   # three
API_HOST = 0.0.0.0
API_PORT=8080
GENERAL_PREMIUM_RATIO=1 3
KANDINSKY_API_TOKEN=raw token
"""


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    file = tmp_path / ".env"
    file.write_text(ENV)
    return file


def test_its_env_file_is_understood(env_file: Path) -> None:
    process: dict[str, str] = {}
    own = Settings.from_env(environment.of_process(process, env_file))
    assert (own.web.host, own.web.port) == ("0.0.0.0", 8080)
    assert (own.process.log_level, own.devoid.test_mode) == ("WARNING", True)
    assert (own.s3.endpoint_url, own.s3.bucket) == ("http://s3.example.org", "media")
    assert own.devoid.image_endpoint == "https://cdn.example.org/"
    assert own.devoid.images_path is not None
    assert own.devoid.images_path.name == "gens"
    assert own.devoid.service_entries == [("telegram", "service_key"), ("discord", "service_key"), ("web", "a:b")]
    assert process["KANDINSKY_API_TOKEN"] == "raw token"  # where back ends are read from
    assert (process["AWS_ACCESS_KEY_ID"], process["AWS_SECRET_ACCESS_KEY"]) == ("access", "secret # 1")


def test_the_environment_and_our_names_win(env_file: Path) -> None:
    process = {"API_PORT": "9000", "HOST": "127.0.0.1", "S3_BUCKET_NAME": ""}
    own = Settings.from_env(environment.of_process(process, env_file))
    assert (own.web.port, own.web.host, own.s3.bucket) == (9000, "127.0.0.1", "media")
    assert environment.of_process({}, env_file.parent / "missing") == {}


@pytest.mark.parametrize("wrong", [{"SERVICES": "telegram"}, {"SERVICES": "a/b:key"}, {"SAVE_IMAGES_LOCALLY": "1"}])
def test_wrong_ones_are_named(wrong: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match=next(iter(wrong))):
        Settings.from_env(wrong)
