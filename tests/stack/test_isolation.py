"""The API, the Celery parent and the domain load no torch and no numpy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.settings import PROJECT_ROOT, Settings
from stack.embedded_redis.server import EmbeddedRedis

HEAVY = ("torch", "diffusers", "transformers", "numpy")
#: Requests through the complete application; nothing is queued.
API = """
from app import create_app
client = create_app().test_client()
assert client.get('/openapi.json').status_code == 200
assert client.post('/v1/jobs', json={'steps': 0}).status_code == 422
assert client.post('/v1/jobs', json={'kind': 'img2img', 'image': 'aGk='}).status_code == 422
"""
PARENT = """
from tasks import app
app.loader.import_default_modules()
import workers.parent.process, workers.parent.request, workers.parent.pool
assert 'tasks.generate' in app.tasks
"""


def loaded(code: str, models_file: Path, **environment: str) -> set[str]:
    """Return the heavy modules that a new interpreter has loaded after ``code``."""
    tail = f"\nimport sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail], cwd=PROJECT_ROOT, capture_output=True, text=True,
        env={**os.environ, "MODELS_FILE": str(models_file), **environment}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


CLIENT = "import framemill, framemill.cli, framemill.cli.display.progress, framemill.inspection"


@pytest.mark.parametrize("code", [PARENT, CLIENT], ids=["parent", "client"])
def test_no_heavy_module_is_loaded(code: str, models_file: Path) -> None:
    assert loaded(code, models_file) == set()


def test_the_api_loads_no_heavy_module(settings: Settings) -> None:
    with EmbeddedRedis(settings):
        assert loaded(API, settings.paths.models_file, DATA_DIR=str(settings.paths.data_dir)) == set()


def test_the_check_would_notice(models_file: Path) -> None:
    assert loaded("import numpy", models_file) == {"numpy"}


def test_the_device_is_set_before_torch_and_in_the_child_only(models_file: Path) -> None:
    code = """
import os
os.environ['CUDA_VISIBLE_DEVICES'] = 'GPU-aa,GPU-bb'
import sys, workers.parent.child
workers.parent.child.prepare('nodeb.gpu1')
assert os.environ['CUDA_VISIBLE_DEVICES'] == 'GPU-bb'
"""
    assert loaded(code, models_file) == set()
