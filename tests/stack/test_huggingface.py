"""Hugging Face's clients on real processes: huggingface_hub, and @huggingface/inference."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import clients, drawn_models
from tests.support.harness import PATIENCE_S, Stack, wait_for

MODELS = """
[nowhere]
executor = "drawing"
kinds = ["text2img"]
slots = ["gpu9"]
"""
PROGRAM = clients.PINS / "use_huggingface.py"
pytestmark = pytest.mark.timeout(clients.INSTALL_S)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    models = drawn_models.write(tmp_path_factory.mktemp("models"))
    models.write_text(models.read_text() + MODELS)
    with drawn_models.stack_in_new_folder(models, "gpu0", "io") as stack:
        yield stack


@pytest.fixture(scope="module")
def key(stack: Stack) -> str:
    return stack.first_key()


def test_huggingface_hub(stack: Stack, key: str, tmp_path: Path) -> None:
    clients.run(sys.executable, PROGRAM, stack.url(""), key, str(tmp_path), "all", HF_HUB_OFFLINE="0")


def test_huggingface_inference_of_node(stack: Stack, key: str) -> None:
    clients.run(clients.node(), clients.NODE / "use_huggingface.mjs", stack.url(""), key)


def test_a_client_repeats_its_request_while_the_web_server_restarts(stack: Stack, key: str, tmp_path: Path) -> None:
    command = [sys.executable, str(PROGRAM), stack.url(""), key, str(tmp_path), "restart"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "HF_HUB_OFFLINE": "0"}
    ) as client:
        headers = {"Authorization": f"Bearer {key}"}

        def runs() -> bool:
            found = stack.get("/v1/jobs", params={"limit": 1}, headers=headers).json()["jobs"]
            return bool(found) and found[0]["state"] == "running" and found[0]["request"]["steps"] == 300

        wait_for(runs, "the job")
        stack.kill("web")
        stack.web()
        client.wait(PATIENCE_S)
    assert client.returncode == 0
