"""Previews in Python and in the shell."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import framemill
from tests.support.harness import ENDLESS_STEPS, PATIENCE_S, Stack, wait_for

FRAMEMILL = [sys.executable, "-m", "framemill"]


def is_picture(preview: framemill.Preview) -> bool:
    return preview.media_type == "image/jpeg" and Image.open(io.BytesIO(preview.content)).size == (32, 32)


def test_a_client_looks_at_a_running_job(stack: Stack) -> None:
    job_id = stack.endless()
    with framemill.Client(stack.url("")) as client:
        preview: Any = wait_for(lambda: client.preview(job_id), "a preview")
        assert is_picture(preview)
        assert preview.step > 0
        client.cancel(job_id)
        assert client.preview(job_id) is None
        with pytest.raises(framemill.errors.ApiError) as refusal:
            client.preview("nobody")
        assert refusal.value.code == "job_not_found"


def test_a_client_follows_the_previews(stack: Stack) -> None:
    job_id = stack.endless()
    with framemill.Client(stack.url("")) as client:
        event = next(event for event in client.follow(job_id, previews=True) if event.name == "preview")
        assert 0 < (event.job.preview_step or 0) <= (event.job.step or 0)
        client.cancel(job_id)


def test_the_asynchronous_client_does_the_same(stack: Stack) -> None:
    job_id = stack.endless()

    async def look() -> framemill.Preview | None:
        async with framemill.AsyncClient(stack.url("")) as client:
            async for event in client.follow(job_id, previews=True):
                if event.name == "preview":
                    break
            preview = await client.preview(job_id)
            await client.cancel(job_id)
            assert await client.preview(job_id) is None
            return preview

    preview = asyncio.run(look())
    assert preview is not None
    assert is_picture(preview)


def test_the_command_keeps_the_newest_preview_in_a_file(stack: Stack, tmp_path: Path) -> None:
    job_id, file = stack.endless(), tmp_path / "newest.jpg"
    command = [*FRAMEMILL, "--url", stack.url(""), "follow", job_id, "--preview", str(file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as follower:
        wait_for(file.exists, "the file")
        first = file.read_bytes()
        wait_for(lambda: file.read_bytes() != first, "the next preview")
        stack.cancel(job_id)
        assert follower.wait(PATIENCE_S) == 5  # cancelled by another client
    assert Image.open(io.BytesIO(file.read_bytes())).size == (32, 32)
    assert list(tmp_path.iterdir()) == [file]


def test_the_command_submits_with_previews(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "newest.jpg"
    command = [*FRAMEMILL, "--url", stack.url(""), "submit", "--model", "tiny-image", "--prompt", "x"]
    options = ["--steps", str(ENDLESS_STEPS), "--id", "with-previews", "--preview", str(file)]
    with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as submitted:
        wait_for(file.exists, "the file")
        stack.cancel("with-previews")
        assert submitted.wait(PATIENCE_S) == 5  # cancelled by another client
    assert Image.open(io.BytesIO(file.read_bytes())).size == (32, 32)
    refused = subprocess.run(
        [*FRAMEMILL, "follow", "--preview", str(file)], capture_output=True, text=True, check=False
    )
    assert (refused.returncode, "--preview needs the id" in refused.stderr) == (2, True)
