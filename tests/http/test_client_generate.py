"""``generate``: one call that submits, follows and saves, against a real app; and what its arguments mean."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

import framemill
from framemill.errors import ApiError, WaitTimeout
from framemill.transport import wire
from jobs.store import keys
from tests.support.fake_server import PNG, FakeServer, serving
from tests.support.fuzzed_app import MODELS
from tests.support.served_app import ServedApp

ENCODED = base64.b64encode(PNG).decode()


@pytest.fixture(scope="module")
def app() -> Iterator[ServedApp]:
    app = ServedApp(MODELS)
    app.store.client.zadd(keys.NODES, {"host": 2e9})
    app.worker("tiny-image", "tiny-video")
    yield app
    app.close()


@pytest.fixture
def client(app: ServedApp) -> Iterator[framemill.Client]:
    with framemill.Client(app.url("")) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serving() as fake:
        yield fake


@pytest.fixture
def fake(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[framemill.Client]:
    monkeypatch.setattr(wire, "RETRY_WAITS_S", (0.01, 0.01))
    with framemill.Client(server.url) as opened:
        yield opened


def test_one_call_makes_a_file(client: framemill.Client, tmp_path: Path) -> None:
    states = []
    made = client.generate(
        tmp_path / "circle.webp", model="tiny-image", prompt="a red circle", seed=7,
        on_update=lambda job: states.append(job.state),
    )  # fmt: skip
    assert made.files == (tmp_path / "circle.webp",)
    with Image.open(made.files[0]) as image:
        assert (image.format, image.size) == ("WEBP", (16, 16))
    job = made.job
    assert (job.state, job.model, job.kind, job.prompt, job.seed) == (
        "succeeded", "tiny-image", "text2img", "a red circle", 7,
    )  # fmt: skip
    assert job.duration_s is not None
    assert job.duration_s >= 0
    assert job.created_at is not None
    assert job.created_at.tzinfo is not None
    assert states[-1] == "succeeded"


def test_several_outputs_and_folders(client: framemill.Client, tmp_path: Path) -> None:
    made = client.generate(str(tmp_path / "a.png"), model="tiny-image", prompt="x", num_images=2)
    assert [path.name for path in made.files] == ["a.png", "a-1.png"]
    made = client.generate(tmp_path, model="tiny-video", prompt="x", id="clip")
    assert made.files == (tmp_path / "clip.mp4",)
    assert client.generate(model="tiny-image", prompt="x").files == ()


def test_a_name_that_asks_for_another_format(client: framemill.Client, tmp_path: Path) -> None:
    with pytest.raises(ApiError) as refused:
        client.generate(tmp_path / "star.mp4", model="tiny-image", prompt="x")
    assert [problem["field"] for problem in refused.value.fields] == ["output_format"]
    made = client.generate(tmp_path / "star.dat", model="tiny-image", prompt="x", output_format="jpeg")
    with Image.open(made.files[0]) as image:
        assert image.format == "JPEG"


def test_asyncio(app: ServedApp, tmp_path: Path) -> None:
    async def run() -> framemill.Generated:
        async with framemill.AsyncClient(app.url("")) as client:
            return await client.generate(tmp_path / "circle.png", model="tiny-image", prompt="a red circle")

    made = asyncio.run(run())
    assert (made.files, made.job.prompt) == ((tmp_path / "circle.png",), "a red circle")


def test_a_file_is_named_as_text(client: framemill.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = client.generate(tmp_path / "in.png", model="tiny-image", prompt="x")
    monkeypatch.chdir(tmp_path)
    for image in ("in.png", str(made.files[0]), made.files[0].read_bytes()):
        job = client.generate(model="tiny-image", prompt="x", image=image).job
        assert job.kind == "img2img"
    Path("no extension").write_bytes(made.files[0].read_bytes())
    assert client.generate(model="tiny-image", prompt="x", image="no extension").job.kind == "img2img"
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        client.generate(model="tiny-image", prompt="x", image="missing.png")


@pytest.mark.parametrize(
    "text", [ENCODED, f"data:image/png;base64,{ENCODED}", "https://a.example/b.png", "job:a1", "Li4="]
)
def test_other_text_is_sent_as_it_is(server: FakeServer, fake: framemill.Client, text: str) -> None:
    fake.submit(image=text, mix=[{"image": text}])
    body = server.calls[0][2]
    assert (body["image"], body["mix"]) == (text, [{"image": text}])


def test_a_wait_that_is_given_up_cancels_the_job(server: FakeServer, fake: framemill.Client) -> None:
    server.hold = True
    with pytest.raises(WaitTimeout):
        fake.generate(prompt="x", timeout_s=0.1)
    assert server.calls[-1][:2] == ("POST", "/v1/jobs/a1/cancel")

    def interrupt(job: framemill.Job) -> None:
        raise KeyboardInterrupt

    server.end, server.calls[:] = None, []
    with pytest.raises(KeyboardInterrupt):
        fake.generate(prompt="x", on_update=interrupt)
    assert server.calls[-1][:2] == ("POST", "/v1/jobs/a1/cancel")


def test_a_cancelled_task_cancels_the_job(server: FakeServer) -> None:
    server.hold = True

    async def run() -> None:
        async with framemill.AsyncClient(server.url) as client:
            await asyncio.wait_for(client.generate(prompt="x", on_update=lambda job: None), 0.5)

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert server.calls[-1][:2] == ("POST", "/v1/jobs/a1/cancel")


def test_a_broken_submission_is_repeated_under_one_key(server: FakeServer, fake: framemill.Client) -> None:
    server.first = [None]
    assert fake.generate(prompt="x").job.state == "succeeded"
    sent = [headers["Idempotency-Key"] for headers in server.headers[:2]]
    assert len({*sent}) == 1
    server.headers.clear()
    server.steps = 0
    fake.generate(prompt="x", idempotency_key="mine")
    assert server.headers[0]["Idempotency-Key"] == "mine"


def test_outputs_are_read_into_memory(client: framemill.Client) -> None:
    job = client.generate(model="tiny-image", prompt="x").job
    with Image.open(BytesIO(client.result(job.id))) as image:
        assert image.size == (16, 16)
