"""A Devoid Generator's settings, its priorities and its flags."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import requests

from jobs.errors import BadSetting
from jobs.settings import Settings, environment
from tests.stack.test_devoid import MODELS
from tests.support.devoid_client import Client, Refused, request
from tests.support.harness import wait_for
from tests.support.s3_server import S3Server

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
    assert process["KANDINSKY_API_TOKEN"] == "raw token"  # where back ends look for it
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


@pytest.fixture
def models(tmp_path: Path) -> Path:
    file = tmp_path / "models.toml"
    file.write_text(MODELS)
    return file


def test_mode_needs_no_model(start: Any) -> None:
    stack = start("gpu0", "io", TEST_MODE=1, SERVICES="telegram:service_key", AUTOMATIC1111_MODEL="broken")
    client = Client(stack)
    client.ask()
    assert [message["gen_status"] for message in client.until_over()] == ["queued", "generating", "ok"]
    client.close()


def test_links_lead_to_the_bucket_and_sync_waits_for_it(start: Any, s3: S3Server, models: Path) -> None:
    bucket = f"{s3.url}/{s3.bucket.name}/mill/"
    stack = start(
        "gpu0", "io", MODELS_FILE=models, SERVICES="telegram:service_key", S3_IMAGE_ENDPOINT=bucket, **s3.environment
    )
    client = Client(stack)
    for synced in (1, 0):
        client.ask(settings={"premium": 0, "moderate": 0, "sync_with_s3": synced})
        *_, ok = client.until_over()
        link = ok["result"]["content"]
        assert link == bucket + ok["object_id"] + ".jpg"
        key = f"mill/{ok['object_id']}.jpg"
        if not synced:
            wait_for(lambda key=key: s3.files(key), "the image to be stored")
        assert s3.files(key) == [key]
        assert client.is_silent(0.3)
    # The record goes, and both names with it.
    headers = {"Authorization": "Bearer telegram:service_key"}
    requests.delete(stack.url(f"/v1/jobs/{ok['object_id']}"), headers=headers, timeout=10)
    wait_for(lambda: not s3.files(ok["object_id"]), "the image to be removed")
    client.close()


def test_without_sync_the_link_comes_before_the_upload(start: Any, models: Path) -> None:
    stack = start("gpu0", MODELS_FILE=models, SERVICES="telegram:service_key")  # nobody delivers yet
    client = Client(stack)
    client.ask(settings={"sync_with_s3": 1})
    client.ask(settings={"sync_with_s3": 0})
    told = [client.next() for _ in range(5)]
    ends = [message for message in told if message["gen_status"] == "ok"]
    assert [end["settings"] for end in ends] == [{"sync_with_s3": 0}]
    stack.worker("io")
    last = client.next()
    assert (last["gen_status"], last["settings"]) == ("ok", {"sync_with_s3": 1})
    assert client.is_silent()
    client.close()


def test_premium_jobs_get_their_share(start: Any, models: Path) -> None:
    stack = start("gpu0", "io", MODELS_FILE=models, SERVICES="telegram:service_key", NOOP_STEP_MS=5)
    client = Client(stack)
    small = {"prompt": "x", "steps": 1, "width": 32, "height": 32}
    client.ask({**small, "steps": 400})  # keeps the slot while the others come
    for number in range(40):
        client.ask(small, settings={"premium": number % 2})
    over = [m for m in client.until_over(41) if m["gen_status"] == "ok"][1:]
    shares = Counter(message["settings"]["premium"] for message in over[:24])
    assert shares[1] == pytest.approx(18, abs=1)
    assert len(over) == 40
    client.close()


def test_moderation_is_what_the_service_says(start: Any, models: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("forbidden\n")
    stack = start(
        "gpu0", "io", MODELS_FILE=models, SERVICES="telegram:service_key", MODERATION="block",
        MODERATION_WORDS_FILE=words, MODERATION_OUTPUTS="none",
    )  # fmt: skip
    client = Client(stack)
    payload = {**request()["payload"], "prompt": "something forbidden"}
    client.ask(payload, settings={"moderate": 1})
    assert "moderation" in client.next()["result"]["content"]
    client.ask(payload, settings={"moderate": 0})
    assert client.until_over()[-1]["gen_status"] == "ok"
    client.close()


def test_a_key_without_premium_has_none(start: Any, models: Path) -> None:
    stack = start(
        "gpu0",
        "io",
        MODELS_FILE=models,
        API_KEYS="bot:a-key-of-sixteen-chars,vip:another-key-of-sixteen:client:premium",
    )
    client = Client(stack, "bot", "a-key-of-sixteen-chars")
    client.ask(settings={"premium": 1})
    assert client.next()["result"]["content"] == "this key has no premium class"
    client.ask(settings={"premium": 0})
    assert client.until_over()[-1]["gen_status"] == "ok"
    client.close()
    with pytest.raises(Refused):
        Client(stack, "bot", "another-key-of-sixteen")
