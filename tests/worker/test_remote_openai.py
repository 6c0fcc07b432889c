"""Servers with OpenAI's API as back ends: what they are sent, which model, links, videos, refusals, stops."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs.errors import BackendFailed
from jobs.models.backends import Backend
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from tests.support.fake_openai import MP4, FakeOpenAI
from tests.support.harness import Stack, wait_for
from tests.support.pictures import PNG, encoded
from workers.remote.base import BackendAway, BackendBusy, HandBack, RemoteExecutor, TaskGone
from workers.remote.connecting import connect

Connect = Callable[..., RemoteExecutor]


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    server = FakeOpenAI()
    server.start()
    yield server
    server.endless = False
    server.stop()


@pytest.fixture
def connected(fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    """``connected(models={…})``: return an executor for the fake."""
    monkeypatch.setenv("FAR_KEY", "a key")
    made: list[RemoteExecutor] = []

    def build(path: str = "", **options: Any) -> RemoteExecutor:
        options = {"models": {"flux": ""}, "timeout_s": 2, "credentials_env": "FAR_KEY", **options}
        made.append(connect(Backend(name="far-1", type="openai", endpoint=fake.url + path, **options), "fm12345678"))
        return made[-1]

    yield build
    for executor in made:
        executor.close()


def request(**fields: Any) -> GenerationRequest:
    usual: dict[str, Any] = {
        "model": "flux", "kind": Kind.TEXT2IMG, "prompt": "ours", "negative_prompt": "", "seed": 7, "steps": 4,
        "guidance_scale": 3.5, "width": 64, "height": 32,
    }  # fmt: skip
    return GenerationRequest(**{**usual, **fields})


def fetched(executor: RemoteExecutor, folder: Path) -> list[Any]:
    wait_for(lambda: executor.poll().done, "the end")
    return executor.fetch(folder)


@pytest.mark.parametrize("path", ["", "/v1"])
def test_images_are_sent_with_all_that_such_servers_know(
    connected: Connect, fake: FakeOpenAI, tmp_path: Path, path: str
) -> None:
    executor = connected(path)
    assert executor.health() is None
    executor.submit(request(num_images=2, negative_prompt="fog"), {}, "run")
    files = fetched(executor, tmp_path)
    assert [(file.path.name, file.media_type) for file in files] == [("0.png", "image/png"), ("1.png", "image/png")]
    with Image.open(files[1].path) as image:
        assert image.size == (64, 32)
    assert fake.bodies == [{
        "path": "/v1/images/generations", "model": "flux", "prompt": "ours", "n": 2, "size": "64x32",
        "response_format": "b64_json", "seed": 7, "num_inference_steps": 4, "guidance_scale": 3.5,
        "negative_prompt": "fog",
    }]  # fmt: skip


def test_openais_own_models_get_only_their_own_fields(connected: Connect, fake: FakeOpenAI, tmp_path: Path) -> None:
    fake.models = ("gpt-image-2", "dall-e-3", "sora-2")
    executor = connected(models={"flux": "gpt-image-2", "old": "dall-e-3", "film": "sora-2"})
    executor.submit(request(kind=Kind.IMG2IMG, image="in", strength=0.5), {"in": PNG}, "run")
    fetched(executor, tmp_path)
    executor.submit(request(model="old"), {}, "run")
    fetched(executor, tmp_path)
    executor.submit(request(model="film", kind=Kind.TEXT2VIDEO, frames=96, fps=24), {}, "run")
    edited, old, film = fake.bodies
    assert set(edited) == {"path", "model", "prompt", "n", "size", "image"}
    assert set(old) == {"path", "model", "prompt", "n", "size", "response_format"}
    assert film == {"path": "/v1/videos", "model": "sora-2", "prompt": "ours", "size": "64x32", "seconds": "4"}


def test_several_reference_images_are_sent_in_order(connected: Connect, fake: FakeOpenAI, tmp_path: Path) -> None:
    pictures = {name: encoded(Image.new("RGB", (40, 20), name), "PNG") for name in ("red", "blue")}
    executor = connected()
    executor.submit(request(kind=Kind.EDIT, images=["red", "blue"]), pictures, "run")
    fetched(executor, tmp_path)
    [body] = fake.bodies
    assert (body["path"], body["image[]"]) == ("/v1/images/edits", [pictures["red"], pictures["blue"]])
    with pytest.raises(BackendFailed, match="last_image"):
        executor.submit(request(kind=Kind.IMG2VIDEO, image="red", last_image="blue"), pictures, "run")


def test_an_edit_sends_the_picture_and_a_mask_that_is_transparent_where_it_is_repainted(
    connected: Connect, fake: FakeOpenAI, tmp_path: Path
) -> None:
    mask = Image.new("L", (20, 10), 0)
    mask.paste(255, (0, 0, 10, 10))
    picture = encoded(Image.new("RGB", (40, 20), "red"), "JPEG")
    executor = connected()
    fields = {"kind": Kind.INPAINT, "image": "in", "mask": "mask", "strength": 0.75}
    executor.submit(request(**fields), {"in": picture, "mask": encoded(mask, "PNG")}, "run")
    fetched(executor, tmp_path)
    [body] = fake.bodies
    assert (body["path"], body["n"], body["strength"], body["image"]) == ("/v1/images/edits", "1", "0.75", picture)
    with Image.open(io.BytesIO(body["mask"])) as sent:
        alpha = sent.getchannel("A")
        assert (sent.size, alpha.getpixel((3, 3)), alpha.getpixel((36, 3))) == ((40, 20), 0, 255)


def test_the_name_of_a_model_is_the_tables_or_the_same_or_that_of_the_only_one(
    connected: Connect, fake: FakeOpenAI
) -> None:
    fake.models = ("black-forest-labs/FLUX.2",)
    executor = connected()
    assert executor.health() is None
    executor.submit(request(), {}, "run")
    wait_for(lambda: fake.bodies, "the job")
    assert fake.bodies[0]["model"] == "black-forest-labs/FLUX.2"
    fake.models = ("flux-a", "flux-b")
    assert "does not offer the model 'flux', but flux-a, flux-b" in str(executor.health())
    with pytest.raises(BackendAway, match="flux-a, flux-b"):
        executor.submit(request(), {}, "run")
    named = connected(models={"flux": "flux-c"})
    assert "'flux-c'" in str(named.health())
    fake.token = "another"
    assert "credentials_env" in str(executor.health())


def test_a_link_is_followed_to_the_server_itself_with_the_key_and_elsewhere_only_in_public(
    connected: Connect, fake: FakeOpenAI, tmp_path: Path
) -> None:
    fake.links = True
    executor = connected()
    executor.submit(request(), {}, "run")
    [file] = fetched(executor, tmp_path)
    assert file.path.read_bytes() == PNG
    fake.elsewhere = "http://127.0.0.2:9"
    executor.submit(request(), {}, "run")
    with pytest.raises(HandBack, match="the link's host must exist and have public addresses only") as refused:
        fetched(executor, tmp_path)
    assert refused.value.counted
    assert "127.0.0.2" not in str(refused.value)


WRONG: dict[str, tuple[bytes, str]] = {
    "fewer images": (b'{"data": [{"b64_json": "aGk="}]}', "1 of 2 images"),
    "no images": (b'{"data": []}', "no images"),
    "no JSON": (b"<html>", "no images"),
    "no base64": (b'{"data": [{"b64_json": "?"}, {}]}', "not base64"),
    "no content": (b'{"data": [{}, {}]}', "without content"),
    "no picture": (b'{"data": [{"b64_json": "aGVsbG8gd29ybGQh"}, {}]}', "not a picture"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_lets_the_job_run_elsewhere(
    connected: Connect, fake: FakeOpenAI, tmp_path: Path, what: str
) -> None:
    fake.result, text = WRONG[what]
    executor = connected()
    executor.submit(request(num_images=2), {}, "run")
    with pytest.raises(HandBack, match=text) as found:
        fetched(executor, tmp_path)
    assert found.value.counted


def test_a_refusal_has_the_servers_text_and_field(connected: Connect, fake: FakeOpenAI, tmp_path: Path) -> None:
    error = {"message": "must be 16 to 4096", "param": "size", "code": "invalid_value"}
    fake.failure = (400, {"error": error})
    executor = connected()
    executor.submit(request(), {}, "run")
    with pytest.raises(BackendFailed, match="size: must be 16 to 4096"):
        fetched(executor, tmp_path)
    with pytest.raises(BackendFailed, match="size: must be 16 to 4096"):
        executor.submit(request(kind=Kind.TEXT2VIDEO, frames=9, fps=8), {}, "run")
    fake.failure = (429, {"error": {"message": "slow down"}})
    with pytest.raises(BackendBusy, match="slow down"):
        executor.submit(request(kind=Kind.TEXT2VIDEO, frames=9, fps=8), {}, "run")


UNSUPPORTED = {
    "variation": {"seed": 1, "strength": 0.5}, "hires": {"width": 128}, "prior": {"steps": 5},
    "loras": [{"name": "cat", "weight": 1}], "clip_skip": 1,
}  # fmt: skip


@pytest.mark.parametrize("field", UNSUPPORTED)
def test_a_server_is_not_sent_what_it_cannot_do(connected: Connect, fake: FakeOpenAI, field: str) -> None:
    with pytest.raises(BackendFailed, match=f"cannot do this: {field}"):
        connected().submit(request(**{field: UNSUPPORTED[field]}), {}, "run")
    assert fake.calls == []


def test_a_video_is_followed_fetched_and_stopped(connected: Connect, fake: FakeOpenAI, tmp_path: Path) -> None:
    executor = connected()
    fields = {"kind": Kind.IMG2VIDEO, "image": "in", "frames": 49, "fps": 24.0, "steps": 10}
    executor.submit(request(**fields), {"in": PNG}, "run")
    assert fake.bodies == [{
        "path": "/v1/videos", "model": "flux", "prompt": "ours", "size": "64x32", "seconds": "2", "seed": "7",
        "num_inference_steps": "10", "guidance_scale": "3.5", "num_frames": "49", "fps": "24",
        "input_reference": PNG,
    }]  # fmt: skip
    first = executor.poll()
    assert (first.done, first.step, first.steps) == (False, 5, 10)
    [file] = fetched(executor, tmp_path)
    assert (file.path.name, file.media_type, file.path.read_bytes()) == ("0.mp4", "video/mp4", MP4)
    executor.submit(request(**fields), {"in": PNG}, "run")
    executor.stop()
    assert fake.deleted == ["video_2"]
    with pytest.raises(TaskGone):
        executor.poll()
    executor.submit(request(**fields), {"in": PNG}, "run")
    fake.videos["video_3"] |= {"progress": 100, "error": {"code": "oom", "message": "out of memory"}}
    fake._advance = lambda video: video.update(status="failed")  # type: ignore[method-assign]
    with pytest.raises(BackendFailed, match="reports failed: out of memory"):
        executor.poll()


@pytest.fixture
def stack(fake: FakeOpenAI, start: Callable[..., Stack], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    models = '[flux]\nexecutor = "remote"\nkinds = ["text2img", "img2img", "text2video"]\n'
    table = f'[far-1]\ntype = "openai"\nendpoint = "{fake.url}/v1"\nmodels = ["flux"]\ncredentials_env = "FAR_KEY"\n'
    (tmp_path / "models.toml").write_text(models)
    (tmp_path / "backends.toml").write_text(table + "timeout_s = 2\nlost_after_s = 2\n")
    monkeypatch.setenv("FAR_KEY", "a key")
    return start(
        "far-1", "io", MODELS_FILE=tmp_path / "models.toml", BACKENDS_FILE=tmp_path / "backends.toml",
        PROGRESS_INTERVAL_MS=50, CANCEL_GRACE_S=20,
    )  # fmt: skip


def test_jobs_run_there_stop_there_and_survive_its_death(stack: Stack, fake: FakeOpenAI) -> None:
    size = {"model": "flux", "width": 64, "height": 32, "steps": 4}
    view = stack.wait(stack.submit(**size, prompt="a cat", num_images=2))
    assert (view["state"], view["slot"], len(view["outputs"])) == ("succeeded", "far-1", 2), view
    picture = base64.b64encode(PNG).decode()
    view = stack.wait(stack.submit(**size, kind="img2img", image=picture, output_format="jpeg"))
    assert (view["state"], view["outputs"][0]["media_type"]) == ("succeeded", "image/jpeg"), view
    fake.endless = True
    for kind in ("text2img", "text2video"):
        bodies = len(fake.bodies)
        stopped = stack.submit(**size, kind=kind)
        stack.wait_until(stopped, lambda view, n=bodies: view["state"] == "running" and len(fake.bodies) > n, "its run")
        stack.cancel(stopped)
        assert stack.wait(stopped)["state"] == "cancelled"
    wait_for(lambda: fake.deleted, "the stop there")
    bodies = len(fake.bodies)
    lost = stack.submit(**size, prompt="again")
    stack.wait_until(lost, lambda view: view["state"] == "running" and len(fake.bodies) > bodies, "its run")
    fake.stop()
    stack.wait_until(lost, lambda view: view["state"] == "queued", "its place in the queue")
    fake.endless = False
    fake.start()
    view = stack.wait(lost)
    assert (view["state"], view["attempt"]) == ("succeeded", 2)
