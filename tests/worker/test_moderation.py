"""Moderation of outputs during delivery."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.harness import Stack, files_below

#: Refuses everything, so that the tests need no real pictures.
PLUGIN = """
def refuses(frames, request, settings):
    assert frames.dtype == "uint8" and frames.ndim == 4 and frames.shape[3] == 3, frames.shape
    return "circle" in request.prompt

def breaks(*arguments):
    raise RuntimeError("the service for this is away")
"""


@pytest.fixture
def plugged(
    start: Callable[..., Stack], short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Stack]:  # fmt: skip
    """``plugged(SETTING=value)``: return a service that can import the module ``plugin``."""

    def run(*workers: str, **options: Any) -> Stack:
        (short_folder / "plugin.py").write_text(PLUGIN)
        monkeypatch.syspath_prepend(short_folder)
        return start(*workers, **{"MODERATION_PROMPTS": "none", **options})

    return run


def stored(stack: Stack) -> list[Path]:
    return [path for path in files_below(stack.folder / "objects") if "outputs" in path.parts]


def test_blocked_outputs_are_never_stored(plugged: Callable[..., Stack]) -> None:
    stack = plugged("gpu0", "io", MODERATION="block", MODERATION_OUTPUTS="plugin:refuses")
    job_id = stack.submit(prompt="a circle", steps=1)
    status = stack.wait(job_id)
    assert (status["state"], status["error"]["code"]) == ("failed", "moderation_refused")
    assert (status["outputs"], stored(stack)) == ([], [])
    assert not list((stack.folder / "spool").glob(f"{job_id}*"))
    assert stack.get(f"/v1/jobs/{job_id}/result").status_code == 409
    passed = stack.wait(stack.submit(prompt="a square", steps=1))
    assert [output["moderated"] for output in passed["outputs"]] == [False]
    skipped = stack.wait(stack.submit(prompt="a circle", steps=1, moderate=False))
    assert [output["moderated"] for output in skipped["outputs"]] == [False]


def test_blurred_outputs_say_so_and_show_nothing(plugged: Callable[..., Stack]) -> None:
    stack = plugged("gpu0", "io", MODERATION="blur", MODERATION_OUTPUTS="plugin:refuses")
    sharp = stack.wait(stack.submit(prompt="a circle", steps=1, seed=1, width=96, height=64, moderate=False))
    blurred = stack.wait(stack.submit(prompt="a circle", steps=1, seed=1, width=96, height=64))
    assert [output["moderated"] for output in blurred["outputs"]] == [True]
    pictures = [
        np.asarray(Image.open(io.BytesIO(stack.get(f"/v1/jobs/{status['id']}/result").content)), dtype=float)
        for status in (sharp, blurred)
    ]
    assert pictures[0].shape == pictures[1].shape == (64, 96, 3)
    assert detail(pictures[1]) < detail(pictures[0]) / 5
    video = stack.wait(stack.submit(prompt="a circle", steps=1, model="tiny-video"))
    assert [output["moderated"] for output in video["outputs"]] == [True]


def detail(picture: np.ndarray) -> float:
    """Return the mean difference of neighbouring pixels."""
    return float(np.abs(np.diff(picture, axis=1)).mean())


def test_a_check_of_outputs_that_breaks_lets_nothing_pass(
    plugged: Callable[..., Stack], caplog: pytest.LogCaptureFixture
) -> None:
    stack = plugged("gpu0", "io", MODERATION="blur", MODERATION_OUTPUTS="plugin:breaks")
    job_id = stack.submit(prompt="a square", steps=1)
    # Retried later like every delivery that fails; the record counts the tries.
    stack.wait_until(job_id, lambda _: "delivery failed" in caplog.messages, "the first failure")
    assert stack.status(job_id)["state"] == "delivering"
    assert stored(stack) == []
