"""One Framemill as the back end of another: by AUTOMATIC1111's API, as with a Devoid Generator, and by OpenAI's."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.harness import Stack, running, wait_for

MODELS = '[drawn]\nexecutor = "drawing"\nkinds = ["text2img"]\nlimits = { steps = [1, 1000], width = [16, 512] }\n'


@pytest.fixture
def far(models_file: Path, tmp_path: Path) -> Iterator[Stack]:
    """The server that computes."""
    (tmp_path / "far.toml").write_text(MODELS)
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with running(folder, tmp_path / "far.toml", "gpu0", "io", NOOP_STEP_MS=100) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def near(far: Stack, start: Callable[..., Stack], tmp_path: Path) -> Stack:
    """The server that receives requests; a Devoid Generator's list names the other one."""
    entry = {"name": "far", "exec_type": "automatic1111", "endpoint": far.url("/a1111/sdapi/v1"), "timeout": 600}
    (tmp_path / "executors.json").write_text(json.dumps([entry]))
    (tmp_path / "near.toml").write_text('[noop]\nexecutor = "noop"\nkinds = ["text2img"]\n')
    return start(
        "automatic1111-far", "io", MODELS_FILE=tmp_path / "near.toml", BACKENDS_FILE=tmp_path / "executors.json",
        PROGRESS_INTERVAL_MS=50, CANCEL_GRACE_S=20,
    )  # fmt: skip


def test_jobs_go_there_one_after_the_other_and_stops_reach_it(near: Stack, far: Stack) -> None:
    wanted: dict[str, Any] = {"model": "automatic1111", "width": 64, "height": 64, "steps": 2, "seed": 4}
    first = near.wait(near.submit(prompt="one", **wanted))
    again = near.wait(near.submit(prompt="one", **wanted))
    other = near.wait(near.submit(prompt="two", **wanted))
    hashes = [job["outputs"][0]["sha256"] for job in (first, again, other)]
    assert (hashes[0] == hashes[1], hashes[0] == hashes[2]) == (True, False)

    stopped = near.submit(prompt="three", **{**wanted, "steps": 1000})
    near.wait_until(stopped, lambda view: (view["progress"]["step"] or 0) > 0, "steps from there")
    near.cancel(stopped)
    wait_for(lambda: far.queue()["counts"]["cancelled"] == 1, "the stop there")
    after = near.wait(near.submit(prompt="four", **wanted))
    assert after["state"] == "succeeded"
    assert far.queue()["counts"]["failed"] == 0


@pytest.fixture
def near_by_openai(far: Stack, start: Callable[..., Stack], tmp_path: Path) -> Stack:
    """The server that receives requests; it gives the other one's only model a name of its own."""
    table = f'[far-1]\ntype = "openai"\nendpoint = "{far.url("/v1")}"\nmodels = ["shapes"]\n'
    (tmp_path / "backends.toml").write_text(table)
    limits = "limits = { steps = [1, 1000], width = [16, 512] }"
    (tmp_path / "near.toml").write_text(f'[shapes]\nexecutor = "remote"\nkinds = ["text2img"]\n{limits}\n')
    return start(
        "far-1", "io", MODELS_FILE=tmp_path / "near.toml", BACKENDS_FILE=tmp_path / "backends.toml",
        PROGRESS_INTERVAL_MS=50, CANCEL_GRACE_S=20,
    )  # fmt: skip


def test_an_openai_back_end_gets_every_field_and_a_job_after_a_stopped_one(near_by_openai: Stack, far: Stack) -> None:
    near = near_by_openai
    wanted: dict[str, Any] = {"model": "shapes", "width": 64, "height": 32, "steps": 2, "seed": 4}
    # The files from there name the job that they come from; without metadata, equal pictures are equal files.
    pair = {**wanted, "num_images": 2, "negative_prompt": "fog", "guidance_scale": 3.5, "embed_metadata": False}
    view = near.wait(near.submit(prompt="one", **pair))
    assert (view["state"], view["slot"]) == ("succeeded", "far-1"), view
    assert [(output["width"], output["height"]) for output in view["outputs"]] == [(64, 32)] * 2
    asked = [job["request"] for job in far.get("/v1/jobs").json()["jobs"]]
    for request in asked:
        assert (request["prompt"], request["negative_prompt"], request["steps"], request["guidance_scale"]) == (
            "one", "fog", 2, 3.5,
        )  # fmt: skip
    again = near.wait(near.submit(prompt="one", **pair))
    assert [output["sha256"] for output in again["outputs"]] == [output["sha256"] for output in view["outputs"]]

    stopped = near.submit(prompt="three", **{**wanted, "steps": 1000})
    wait_for(lambda: far.queue()["counts"]["running"] == 1, "its run there")
    near.cancel(stopped)
    assert near.wait(stopped)["state"] == "cancelled"
    wait_for(lambda: far.queue()["counts"]["cancelled"] == 1, "the stop there")
    after = near.wait(near.submit(prompt="four", **wanted))
    assert after["state"] == "succeeded"

    lost = near.submit(prompt="five", **{**wanted, "steps": 40})
    wait_for(lambda: far.queue()["counts"]["running"] == 1, "its run there")
    near.kill("far-1")
    wait_for(lambda: far.queue()["counts"]["cancelled"] == 2, "the stop of what nobody waits for any more")
    near.worker("far-1")
    assert near.wait(lost)["state"] == "succeeded"
    assert far.queue()["counts"]["failed"] == 0
