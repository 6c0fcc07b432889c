"""Devoid Generator's socket across deaths of the web server and of a worker, and images in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.devoid_client import MODELS, Client, connect_again
from tests.support.harness import Stack, running

SERVICES = "telegram:service_key"


@pytest.fixture(scope="module")
def devoid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with the settings of a Devoid Generator."""
    folder = tmp_path_factory.mktemp("devoid")
    models = folder / "models.toml"
    models.write_text(MODELS)
    with running(
        folder, models, "gpu0", "io", SERVICES=SERVICES, API_KEYS="ops:operators-secret-key:admin",
        LOGGING_LEVEL="WARN", NOOP_STEP_MS=20,
    ) as stack:  # fmt: skip
        yield stack
        assert "Traceback" not in stack.log("web")


@pytest.fixture
def client(devoid: Stack) -> Iterator[Client]:
    client = Client(devoid)
    yield client
    client.close()


def test_a_web_server_that_dies_loses_no_message(devoid: Stack, client: Client) -> None:
    client.ask({"prompt": "x", "steps": 150, "width": 32, "height": 32})
    queued = client.next()
    devoid.kill("web")
    while client.messages.get(timeout=60) is not None:
        pass
    devoid.web()
    again = connect_again(devoid)
    messages = again.until_over()
    assert messages[-1]["gen_status"] == "ok"
    assert {message["object_id"] for message in messages} == {queued["object_id"]}
    assert again.is_silent()
    again.close()


def test_a_worker_that_dies_is_not_told_of_twice(devoid: Stack, client: Client) -> None:
    client.ask({"prompt": "x", "steps": 100, "width": 32, "height": 32})
    assert [client.next()["gen_status"] for _ in range(2)] == ["queued", "generating"]
    devoid.kill("gpu0")
    devoid.worker("gpu0")
    assert client.next()["gen_status"] == "ok"
    assert client.is_silent()


def test_images_are_kept_in_a_folder_too(tmp_path: Path, start: Any) -> None:
    images = tmp_path / "gens"
    (tmp_path / "models.toml").write_text(MODELS)
    stack = start("gpu0", "io", MODELS_FILE=tmp_path / "models.toml", SAVE_IMAGES_LOCALLY=1, IMAGES_PATH=images)
    client = Client(stack, key=None)  # no keys: loopback only, every service is accepted
    client.ask()
    *_, ok = client.until_over()
    with Image.open(images / ok["result"]["file_name"]) as saved:
        assert saved.format == "JPEG"
    (images / "aaaaaaaaaaaaaaaaaaaaaaaa.jpg").write_bytes(b"of before")
    assert stack.get("/img/aaaaaaaaaaaaaaaaaaaaaaaa.jpg").content == b"of before"
    client.close()
