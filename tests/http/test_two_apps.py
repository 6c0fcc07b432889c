"""Two apps with two Redis servers in one process are independent of each other."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.access import auth
from app.extensions import of
from jobs.callers import Caller, Role
from jobs.settings import PROJECT_ROOT, Settings
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.jobs import JobStore
from stack.embedded_redis.server import EmbeddedRedis

DEMO = {"model": "demo-image", "prompt": "a red circle"}


@pytest.fixture
def two(server: Settings) -> Iterator[tuple[FlaskClient, FlaskClient]]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    other = Settings.of(data_dir=folder, models_file=PROJECT_ROOT / "models.toml")
    with EmbeddedRedis(other):
        JobStore(server).client.flushall()
        yield create_app(server).test_client(), create_app(other).test_client()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_job_of_one_app_is_unknown_to_the_other(two: tuple[FlaskClient, FlaskClient]) -> None:
    first, second = two
    job_id = first.post("/v1/jobs", json=DEMO).get_json()["id"]
    assert first.get(f"/v1/jobs/{job_id}").status_code == 200
    assert second.get(f"/v1/jobs/{job_id}").status_code == 404


def test_a_key_of_one_app_does_not_close_the_other(two: tuple[FlaskClient, FlaskClient]) -> None:
    first, second = two
    KeyRing(of(first.application).store).create(Caller(key_id="operator", role=Role.ADMIN))
    auth.keys_changed()
    assert first.get("/v1/models").status_code == 401
    assert second.get("/v1/models").status_code == 200


def test_events_of_one_app_do_not_reach_the_other(two: tuple[FlaskClient, FlaskClient]) -> None:
    first, second = two
    job_id = first.post("/v1/jobs", json=DEMO).get_json()["id"]
    waiting = second.post("/v1/jobs", json={**DEMO, "id": job_id})
    assert waiting.status_code == 201
    assert first.post(f"/v1/jobs/{job_id}/cancel").get_json()["state"] == "cancelled"
    assert second.get(f"/v1/jobs/{job_id}").get_json()["state"] == "queued"
