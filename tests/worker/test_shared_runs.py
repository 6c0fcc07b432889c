"""Jobs that are computed together: the same pictures as alone, and each with its own progress, stop and end."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from framemill.cli import main
from jobs.store import keys
from tests.support import tiny
from tests.support.computing import Worker
from tests.support.harness import Stack, wait_for
from tests.support.in_process import in_process
from tests.support.shared_runs import MOST_DIFFERENCE, picture, profile, steps_seen
from tests.support.store_driver import StoreDriver
from workers.gpu import batch_profiles
from workers.gpu.batch_profiles import path_beside

pytestmark = pytest.mark.timeout(300)

TEXTS = ("a red circle", "a small green square on a very long white table", "", "a cat")
#: So many steps that all that a test does happens during them.
LONG_STEPS = 4000


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack in which jobs of ``tiny-image`` share runs."""
    models_file = tiny.copy(tmp_path_factory.mktemp("tiny"))
    profile(models_file, "tiny-image")
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with in_process(folder, models_file, FAULTS_FILE=folder / "faults") as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


def submitted(stack: Stack, number: int, **fields: Any) -> list[str]:
    """Submit jobs that wait together; return their ids."""
    with stack.paused():
        return [stack.submit(prompt=TEXTS[n % 4], seed=n, **fields) for n in range(number)]


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("sd", {}),
        ("sd", {"scheduler": "Euler a", "negative_prompt": "blue", "loras": [{"name": "grain", "weight": 0.5}]}),
        ("sd", {"scheduler": "dpmpp_sde", "clip_skip": 1}),
        ("sdxl", {"negative_prompt": "blue"}),
        ("flux", {}),
        ("flux2", {}),
    ],
    ids=str,
)
def test_a_picture_is_the_same_as_alone(
    driver: Callable[..., StoreDriver], families_file: Path, tmp_path: Path, model: str, fields: dict[str, Any]
) -> None:
    worker = Worker(driver(), families_file, tmp_path)
    jobs = [{"prompt": text, "seed": 7 + 3 * n, **fields} for n, text in enumerate(TEXTS)]
    made = worker.together(model, *jobs)
    for number, job in enumerate(jobs):
        alone = worker.compute(model, **job)[0, 0]
        difference = np.abs(made[number].astype(int) - alone.astype(int))
        assert difference.max() <= MOST_DIFFERENCE, (number, difference.max())
    assert np.abs(made[0].astype(int) - made[1].astype(int)).max() > 10


def test_each_job_has_its_own_progress_output_and_end(together: Stack) -> None:
    alone = picture(together, together.wait(together.submit(prompt=TEXTS[1], seed=1, steps=40))["id"])
    ids = submitted(together, 5, steps=40)
    views = [together.wait(job_id) for job_id in ids]
    assert [view["state"] for view in views] == ["succeeded"] * 5, views
    assert [view["batch_size"] for view in views] == [4, 4, 4, 4, None]
    assert [view["attempt"] for view in views] == [1] * 5
    for view in views[:4]:
        assert steps_seen(together, view["id"])[-1] == 40
    assert np.abs(picture(together, ids[1]).astype(int) - alone).max() <= MOST_DIFFERENCE
    assert together.store.client.hget(keys.SLOT + "gpu0", "companions") is None


def test_a_job_that_is_stopped_leaves_the_others_alone(together: Stack) -> None:
    leader, second, third = submitted(together, 3, steps=LONG_STEPS)
    together.wait_until(third, lambda view: view["progress"]["step"] > 3, "some steps")
    together.cancel(leader)
    together.cancel(second)
    step = together.status(third)["progress"]["step"]
    together.wait_until(third, lambda view: view["progress"]["step"] > step + 50, "more steps")
    # It could not go on later.
    assert requests.post(together.url(f"/v1/jobs/{third}/pause"), timeout=60).status_code == 409
    following = together.submit(steps=2)
    assert together.status(following)["state"] == "queued"
    together.cancel(third)  # nobody is left
    assert together.wait(following)["state"] == "succeeded"
    assert [together.status(job_id)["state"] for job_id in (leader, second, third)] == ["cancelled"] * 3


def test_jobs_that_cannot_be_computed_together_are_computed_alone(together: Stack) -> None:
    faults = Path(together.environment["FAULTS_FILE"])
    faults.write_text(json.dumps({"model": "tiny-image", "fault": "oom", "step": 2, "times": 1}))
    ids = submitted(together, 3, steps=4)
    views = [together.wait(job_id) for job_id in ids]
    assert [(view["state"], view["attempt"], view["batch_size"]) for view in views] == [("succeeded", 1, None)] * 3
    assert json.loads(faults.read_text())["times"] == 0
    faults.unlink()
    later = [together.wait(job_id) for job_id in submitted(together, 2, steps=4)]
    assert [view["batch_size"] for view in later] == [None, None]  # the device is too small for several


def test_a_changed_file_is_read_and_without_one_each_job_is_computed_alone(
    start: Callable[..., Stack], capfd: pytest.CaptureFixture[str]
) -> None:
    stack = start()
    assert {stack.wait(job_id)["batch_size"] for job_id in submitted(stack, 2, steps=2)} == {None}
    models_file = stack.settings.paths.models_file
    try:
        profile(models_file, "tiny-image", jobs=2)
        views = [stack.wait(job_id) for job_id in submitted(stack, 3, steps=2)]
        assert [view["batch_size"] for view in views] == [2, 2, None]
        sizes = ["--sizes", "32x32,64x32", "--batches", "2"]
        assert main(["--url", stack.url(""), "models", "profile", "tiny-image", *sizes]) == 0
        shown = capfd.readouterr().out
        for row in (r"32x32 +1 +\S+ +1.00 x ", r"32x32 +2 +\S+ +\S+ x ", r"64x32 +2 ", r"written to .*batch.toml on"):
            assert re.search(row, shown), shown
        [small, middle, large] = batch_profiles.read(path_beside(models_file))["tiny-image"]["cpu"]
        assert (small.width, middle.width, large.width) == (32, 64, 128)
        assert (set(small.images_per_s), small.steps, small.memory_bytes[2] > 0) == ({1, 2}, 4, True)
        models_file.with_suffix(".batch.toml").write_text("[tiny-image]\ncpu = 1\n")
        assert {stack.wait(job_id)["batch_size"] for job_id in submitted(stack, 2, steps=2)} == {None}
    finally:
        models_file.with_suffix(".batch.toml").unlink()
    wait_for(lambda: stack.store.client.hget(keys.SLOT + "gpu0", "job") is None, "the slot to be free")
