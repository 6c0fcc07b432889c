"""A worker of a back end is killed while its job runs there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.blocking_fleet import Fleet
from tests.support.fake_a1111 import FakeA1111
from tests.support.fake_lightx2v import Fake, small_video
from tests.support.harness import Stack, wait_for

SMALL = {"model": "automatic1111", "width": 64, "height": 48, "steps": 4}
MODELS = '[far]\nexecutor = "remote"\nkinds = ["text2video"]\nlimits = { steps = [1, 100000] }\n'
BACKEND = '[lightx2v-1]\ntype = "lightx2v"\nendpoint = "{url}"\nmodels = ["far"]\ntimeout_s = 2\nlost_after_s = 2\n'


@pytest.fixture
def fleet(start: Callable[..., Stack], tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(start, tmp_path)
    yield fleet
    fleet.close()


@pytest.fixture
def lightx2v(start: Callable[..., Stack], tmp_path: Path) -> Iterator[tuple[Stack, Fake]]:
    fake = Fake(small_video(), queues=True, steps_told=True).start()
    (tmp_path / "models.toml").write_text(MODELS)
    (tmp_path / "backends.toml").write_text(BACKEND.format(url=fake.url))
    yield start(
        "lightx2v-1", "io", MODELS_FILE=tmp_path / "models.toml", BACKENDS_FILE=tmp_path / "backends.toml"
    ), fake  # fmt: skip
    fake.stop()


def test_a_worker_that_was_killed_leaves_no_job_behind(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", a1111_1=fake)
    fake.endless = True
    job_id = stack.submit(**SMALL)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "a step")
    os.kill(stack.child("a1111-1"), signal.SIGKILL)
    wait_for(lambda: len(fake.interrupted) == 1, "the lost run to be stopped")
    wait_for(lambda: len(fake.bodies) == 2, "a second run")
    fake.endless = False
    ended = stack.wait(job_id)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)
    assert len(fake.interrupted) == 1


def test_a_worker_that_was_killed_leaves_no_task_behind(lightx2v: tuple[Stack, Fake]) -> None:
    """Its next run is refused while the back end computes the old one; the health check stops the old one."""
    stack, fake = lightx2v
    fake.endless = True
    job_id = stack.submit(model="far", steps=50)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "a step")
    os.kill(stack.child("lightx2v-1"), signal.SIGKILL)
    wait_for(lambda: len(fake.tasks) > 1, "a second run")
    fake.endless = False
    assert stack.wait(job_id)["state"] == "succeeded"
    first = next(iter(fake.tasks.values()))
    assert first["status"] == "cancelled"
