"""A Devoid Generator's settings, its priorities and its flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.devoid_client import MODELS, Client
from tests.support.harness import wait_for
from tests.support.s3_server import S3Server


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
    # The record expires, and both names with it.
    headers = {"Authorization": "Bearer telegram:service_key"}
    requests.delete(stack.url(f"/v1/jobs/{ok['object_id']}"), headers=headers, timeout=60)
    wait_for(lambda: not s3.files(ok["object_id"]), "the image to be removed")
    client.close()


