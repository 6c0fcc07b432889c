"""Deleting jobs by command and client; ``tests/http/test_native_lifecycle.py`` tests which jobs a key may delete."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import framemill
from framemill.cli import main
from tests.support.harness import Stack, running

TINY = {"model": "tiny-image", "prompt": "x", "steps": 1}


@pytest.fixture(scope="module")
def server_alone(drawn_models_file: Path) -> Iterator[Stack]:
    """A server without GPU workers: jobs wait; files are removed when due."""
    with TemporaryDirectory(prefix="fm-") as folder, running(Path(folder), drawn_models_file, "io") as stack:
        yield stack


@pytest.fixture(scope="module")
def ops(server_alone: Stack) -> Iterator[framemill.Client]:
    """A client with an admin key."""
    url = server_alone.url("")
    secret = server_alone.first_key()
    with framemill.Client(url, secret) as client:
        yield client


def test_the_command(server_alone: Stack, ops: framemill.Client, capsys: pytest.CaptureFixture[str]) -> None:
    secret = ops.create_key("carol").secret or ""
    with framemill.Client(server_alone.url(""), secret) as carol:
        ids = [carol.submit(**TINY).id for _ in range(2)]
    words = ["--url", server_alone.url(""), "--api-key", secret]
    assert main([*words, "delete", *ids]) == 0
    assert capsys.readouterr().out.splitlines() == [f"job {job_id} was deleted" for job_id in ids]
    assert main([*words, "--json", "delete", ids[0]]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert main([*words, "delete", "never-was"]) == 3
    assert "does not exist" in capsys.readouterr().err
    assert main([*words, "submit", "--model", "tiny-image", "--prompt", "x", "--retention", "keep"]) == 0
    job_id = capsys.readouterr().out.strip()
    assert ops.get(job_id).raw["retention"] == "keep"


def test_the_async_client(server_alone: Stack, ops: framemill.Client) -> None:
    secret = ops.create_key("dave").secret

    async def use() -> list[bool]:
        async with framemill.AsyncClient(server_alone.url(""), secret) as client:
            job_id = (await client.submit(**TINY)).id  # type: ignore[arg-type]
            return [(await client.delete(job_id)).changed for _ in range(2)]

    assert asyncio.run(use()) == [True, False]
