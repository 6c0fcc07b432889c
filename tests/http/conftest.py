"""Fixtures: Flask apps with a Redis, without any other process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import create_app
from jobs.settings import Settings
from jobs.store.jobs import JobStore
from tests.support.room import OWNER

MODELS = """
[image]
source = "unused"
kinds = ["text2img", "img2img"]
width = 64
height = 64
max_px = 65536
"""


@pytest.fixture
def client(server: Settings, tmp_path: Path) -> Callable[..., FlaskClient]:
    """``client(SETTING=value)``: a client of an app on the module's emptied Redis; outputs are stored in a folder."""

    def make(**options: Any) -> FlaskClient:
        JobStore(server).client.flushall()
        return create_app(server.replace(**options)).test_client()

    return make


def open_slot(settings: Settings, name: str, *models: str) -> None:
    """Register a slot that runs these models, as its worker would."""
    JobStore(settings).register(name, OWNER, {"models": json.dumps(models), "resident": ""})
