"""A LightX2V server as a back end: its slot, its jobs, and all of its failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import blocking_fleet
from tests.support.fake_lightx2v import Fake, small_video
from tests.support.harness import Stack, wait_for
from tests.support.pictures import b64, encoded, picture
from tests.support.recordings import sound
from tests.support.recordings import video as recorded

MODELS = """
[far-speech]
executor = "remote"
kinds = ["img2video", "video2video"]
fields = { last_image = "last_frame_path", audio = "audio_path" }
defaults = { frames = 9, fps = 8 }

[far-video]
executor = "remote"
kinds = ["text2video", "img2video"]
defaults = { steps = 5, width = 32, height = 32, frames = 9, fps = 8 }
limits = { steps = [1, 100000] }

[noop]
executor = "noop"
kinds = ["text2img"]
"""
BACKEND = """
[lightx2v-1]
type = "lightx2v"
endpoint = "{url}"
models = ["far-video", "far-speech", "noop"]
timeout_s = 2
lost_after_s = 2
"""


@pytest.fixture(scope="module")
def video() -> bytes:
    return small_video()


@pytest.fixture
def fleet(start: Callable[..., Stack], tmp_path: Path, video: bytes) -> Iterator[Callable[..., tuple[Stack, Fake]]]:
    """``fleet("io", queues=True)``: return a stack with one back end, its fake server, and these other workers."""
    fakes: list[Fake] = []

    def build(*workers: str, **options: Any) -> tuple[Stack, Fake]:
        fakes.append(Fake(video, **{"queues": True, **options}).start())
        (tmp_path / "models.toml").write_text(MODELS)
        (tmp_path / "backends.toml").write_text(BACKEND.format(url=fakes[0].url))
        stack = start(
            "lightx2v-1", *workers, MODELS_FILE=tmp_path / "models.toml", BACKENDS_FILE=tmp_path / "backends.toml"
        )
        return stack, fakes[0]

    yield build
    for fake in fakes:
        fake.stop()


def slot(stack: Stack) -> dict[str, Any]:
    return blocking_fleet.slot(stack, "lightx2v-1")


def await_slot(stack: Stack, state: str) -> dict[str, Any]:
    return blocking_fleet.await_slot(stack, "lightx2v-1", state)


@pytest.mark.parametrize("queues", [True, False])
def test_a_job_runs_there_and_its_file_is_delivered_as_it_is(fleet: Any, video: bytes, queues: bool) -> None:
    stack, fake = fleet("io", queues=queues, steps_told=True)
    job_id = stack.submit(model="far-video", prompt="a cat", negative_prompt="blur", seed=7, steps=6, frames=9)
    view = stack.wait(job_id)
    assert (view["state"], view["slot"], view["device"]) == ("succeeded", "lightx2v-1", "remote"), view
    assert view["attempt"] == 1
    content = stack.get(f"/v1/jobs/{job_id}/result").content
    assert content.startswith(video)
    assert content[len(video) :][4:8] == b"uuid"  # only a box is added, which says that a model made it
    [output] = view["outputs"]
    shape = {name: output[name] for name in ("media_type", "width", "height", "frames", "fps")}
    assert shape == {"media_type": "video/mp4", "width": 32, "height": 32, "frames": 9, "fps": 8.0}
    [fields] = [task["fields"] for task in fake.tasks.values()]
    expected = {"prompt": "a cat", "negative_prompt": "blur", "seed": 7, "infer_steps": 6, "target_video_length": 9}
    assert {name: fields[name] for name in expected} == expected
    assert slot(stack)["models"] == ["far-speech", "far-video", "noop"]
    # The slot is free again, and the same server runs the next job.
    assert stack.wait(stack.submit(model="far-video", steps=1))["state"] == "succeeded"


def test_last_images_videos_and_sound_arrive(fleet: Any) -> None:
    stack, fake = fleet("io")
    image, tone, film = encoded(picture(size=(36, 64)), "PNG"), sound(), recorded()
    with_sound = {"image": b64(image), "last_image": b64(image), "audio": b64(tone)}
    for fields in (with_sound, {"video": b64(film)}):
        view = stack.wait(stack.submit(model="far-speech", steps=1, **fields))
        assert view["state"] == "succeeded", view
    first, second = (task["fields"] for task in fake.tasks.values())
    assert (first["last_frame_path"], first["audio_path"]) == (b64(image), b64(tone))
    assert (second["image_path"], second["video_path"]) == ("", b64(film))


@pytest.mark.parametrize("queues", [True, False])
def test_an_input_image_arrives(fleet: Any, queues: bool) -> None:
    import base64

    stack, fake = fleet("io", queues=queues)
    image = encoded(picture(size=(36, 64)), "PNG")
    job_id = stack.submit(model="far-video", image=base64.b64encode(image).decode(), steps=1)
    assert stack.wait(job_id)["state"] == "succeeded"
    assert fake.uploads == [image]
    if queues:  # the older server takes no size
        [fields] = [task["fields"] for task in fake.tasks.values()]
        assert fields["target_shape"] == [40, 24]


@pytest.mark.parametrize("queues", [True, False])
def test_a_stop_reaches_it(fleet: Any, queues: bool) -> None:
    stack, fake = fleet("io", queues=queues, steps_told=True)
    fake.endless = True
    job_id = stack.submit(model="far-video", steps=50)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "a step")
    stack.cancel(job_id)
    wait_for(lambda: fake.running() is None, "the back end to stop")
    assert stack.status(job_id)["state"] == "cancelled"
    fake.endless = False
    assert stack.wait(stack.submit(model="far-video", steps=1))["state"] == "succeeded"


def test_a_failure_there_fails_the_job_with_its_text(fleet: Any) -> None:
    stack, fake = fleet("io")
    fake.failure = "the VAE is on fire"
    view = stack.wait(stack.submit(model="far-video"))
    assert (view["state"], view["error"]["code"]) == ("failed", "backend_failed")
    assert "the VAE is on fire" in view["error"]["message"]
    fake.failure, fake.result = "", b"no video at all"
    view = stack.wait(stack.submit(model="far-video", steps=1))
    assert (view["state"], "neither MP4" in view["error"]["message"]) == ("failed", True)
    assert await_slot(stack, "idle")["waiting_for"] is None


def test_a_server_that_dies_gives_its_job_to_another_slot(fleet: Any) -> None:
    stack, fake = fleet("gpu0", "io", steps_told=True)
    fake.endless = True
    job_id = stack.submit(model="far-video", steps=50)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "a step")
    fake.stop()
    view = stack.wait_until(job_id, lambda view: view["state"] == "queued", "its place in the queue")
    blocked = await_slot(stack, "waiting")
    assert blocked["waiting_for"].startswith("lightx2v-1 ")
    assert view["attempt"] == 1
    # A job that both can run goes at once to the one that is available.
    assert stack.wait(stack.submit(model="noop", steps=1))["slot"] == "gpu0"
    # The back end recovers, and the lost run counts.
    fake.endless = False
    fake.start()
    ended = stack.wait(job_id)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)


def test_a_server_that_is_started_again_has_forgotten_the_job(fleet: Any) -> None:
    stack, fake = fleet("io", steps_told=True)
    fake.endless = True
    job_id = stack.submit(model="far-video", steps=50)
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "a step")
    fake.tasks.clear()
    fake.endless = False
    ended = stack.wait(job_id)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 2)


def test_a_server_that_works_for_somebody_else_is_no_idle_slot(fleet: Any) -> None:
    stack, fake = fleet("io")
    fake.endless = True
    assert fake.create({"task_id": "THEIRS", "infer_steps": 5})[0] == 200
    assert "works for another client" in await_slot(stack, "waiting")["waiting_for"]
    assert not stack.queue()["idle"]
    job_id = stack.submit(model="far-video", steps=1)
    assert stack.status(job_id)["state"] == "queued"
    assert fake.running() == "THEIRS"
    fake.endless = False
    ended = stack.wait(job_id)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 1)
