"""The commands of the README work as they are printed, with the shipped models."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from PIL import Image

from jobs.settings import PROJECT_ROOT
from tests.support.harness import BIN, PATIENCE_S, Stack, running

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def shipped() -> Iterator[Stack]:
    """A stack with the models of the repository, which has loaded torch and the image model."""
    with (
        tempfile.TemporaryDirectory(prefix="fm-") as folder,
        running(Path(folder), PROJECT_ROOT / "models.toml", "gpu0", "io") as stack,
    ):
        stack.wait(stack.submit(model="demo-image", steps=1))  # or a busy machine would exceed the wait of the example
        yield stack


def block(heading: str, language: str) -> str:
    """Return the first code block of a language in a section of the README."""
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert section, f"the README has no section {heading!r}"
    code = re.search(rf"^```{language}\n(.*?)^```", section[1], re.MULTILINE | re.DOTALL)
    assert code, f"the section {heading!r} has no {language} block"
    return code[1]


def run(stack: Stack, folder: Path, code: str, *command: str | Path) -> None:
    """Run a block in an empty folder, with the address replaced by that of the stack."""
    code = code.replace("http://127.0.0.1:8000", stack.url("")).replace(".venv/bin/", f"{BIN}/")
    environment = {**os.environ, "FRAMEMILL_URL": stack.url(""), "PYTHONPATH": str(PROJECT_ROOT / "src")}
    done = subprocess.run(
        [*command, code], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_curl_commands_submit_a_job_and_fetch_its_image(shipped: Stack, tmp_path: Path) -> None:
    run(shipped, tmp_path, block("Submit a job with curl", "sh"), "bash", "-euo", "pipefail", "-c")
    with Image.open(tmp_path / "circle.png") as image:
        assert image.size == (128, 128)


def test_the_python_example_saves_an_image(shipped: Stack, tmp_path: Path) -> None:
    run(shipped, tmp_path, block("Use it from Python or the shell", "python"), sys.executable, "-c")
    with Image.open(tmp_path / "circle.png") as image:
        assert image.size == (128, 128)


def test_the_command_saves_a_video(shipped: Stack, tmp_path: Path) -> None:
    run(shipped, tmp_path, block("Use it from Python or the shell", "sh"), "bash", "-euo", "pipefail", "-c")
    with av.open(str(tmp_path / "star.mp4")) as video:
        assert video.streams.video[0].frames == 9
