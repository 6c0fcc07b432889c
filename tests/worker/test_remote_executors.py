"""Executors of blocking back ends without a stack: which job is shown and interrupted, keys, texts of refusals."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jobs.errors import BackendFailed
from jobs.models.backends import Backend
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from tests.support.blocking_server import BlockingServer
from tests.support.fake_a1111 import FakeA1111
from tests.support.fake_kandinsky import FakeKandinsky
from tests.support.harness import wait_for
from workers.remote import posting, responses
from workers.remote.a1111_body import body_of
from workers.remote.base import BackendAway, BackendBusy, HandBack, RemoteExecutor
from workers.remote.connecting import connect

Connect = Callable[..., RemoteExecutor]


@pytest.fixture
def connected() -> Iterator[Connect]:
    """``connected(fake)``: return an executor for a fake; stops both at the end."""
    made: list[tuple[RemoteExecutor, BlockingServer]] = []

    def build(fake: BlockingServer, path: str = "", **options: Any) -> RemoteExecutor:
        if not fake.port:
            fake.start()
        kind = "automatic1111" if isinstance(fake, FakeA1111) else "kandinsky"
        backend = Backend(
            name="far-1", type=kind, endpoint=fake.url + path, models={"m": ""}, **{"timeout_s": 2, **options}
        )
        made.append((connect(backend, "fm12345678"), fake))
        return made[-1][0]

    yield build
    for executor, fake in made:
        executor.close()
        fake.endless = False
        if fake._server is not None:
            fake.stop()


def request(**fields: Any) -> GenerationRequest:
    usual: dict[str, Any] = {
        "model": "m", "kind": Kind.TEXT2IMG, "prompt": "ours", "negative_prompt": "", "seed": 1, "steps": 3,
        "guidance_scale": 7.0, "width": 16, "height": 16,
    }  # fmt: skip
    return GenerationRequest(**{**usual, **fields})


def over(executor: RemoteExecutor) -> bool:
    """Poll like a run: a back end that is away for a moment is asked again."""
    try:
        return executor.poll().done
    except BackendAway:
        return False


def fetched(executor: RemoteExecutor, folder: Path) -> list[Any]:
    wait_for(lambda: executor.poll().done, "the answer")
    return executor.fetch(folder)


def foreign(fake: FakeA1111) -> None:
    """Run a job of another client."""
    body = {"prompt": "theirs", "width": 8, "height": 8, "steps": 3}

    def call() -> None:
        with contextlib.suppress(requests.RequestException):
            requests.post(f"{fake.url}/sdapi/v1/txt2img", json=body, timeout=60)

    threading.Thread(target=call, daemon=True).start()
    wait_for(lambda: fake.now and fake.now["step"], "their job to run")


def test_behind_somebody_elses_job(connected: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeA1111()
    executor = connected(fake)
    fake.endless = True
    foreign(fake)
    with pytest.raises(BackendBusy, match="another client"):
        executor.submit(request(), {}, "a")
    # The other client's job came between the check and this job.
    monkeypatch.setattr(executor, "health", lambda: None)
    executor.submit(request(), {}, "a")
    wait_for(lambda: fake.pending, "our job to wait there")
    assert executor.poll(preview=True) == executor.poll() == type(executor.poll())()
    stopping = threading.Thread(target=executor.stop)
    stopping.start()
    looks = fake.calls.count("POST /internal/progress")
    wait_for(lambda: fake.calls.count("POST /internal/progress") > looks + 1, "looks for our job")
    assert fake.interrupted == []
    assert fake.now is not None
    fake.now["stopping"] = True  # the other client's own interrupt
    stopping.join(30)
    assert [body["prompt"] for body in fake.interrupted] == ["ours"]
    wait_for(lambda: executor.poll().done, "our POST to be back")


def test_a_stop_of_what_is_over_does_nothing(connected: Connect) -> None:
    fake = FakeA1111()
    executor = connected(fake)
    executor.stop()
    executor.submit(request(), {}, "a")
    wait_for(lambda: executor.poll().done, "the answer")
    fake.endless = True
    foreign(fake)
    executor.stop()
    assert fake.interrupted == []


@pytest.mark.parametrize("path", ["", "/sdapi/v1"])
def test_both_forms_of_an_address_and_a_data_uri(connected: Connect, tmp_path: Path, path: str) -> None:
    fake = FakeA1111()
    executor = connected(fake, path)
    assert executor.health() is None
    picture = fake.picture({"width": 16, "height": 16}, "x")
    grid = fake.picture({"width": 32, "height": 16}, "x")
    fake.result = (
        f'{{"images": ["{grid}", "data:image/png;base64,{picture}"], "info": "{{\\"index_of_first_image\\": 1}}"}}'
    ).encode()
    executor.submit(request(), {}, "a")
    [file] = fetched(executor, tmp_path)
    assert (file.path.name, file.media_type) == ("0.png", "image/png")
    assert file.path.read_bytes() == base64.b64decode(picture)


def test_a_connection_that_dies_counts_only_if_it_was_opened(connected: Connect) -> None:
    fake = FakeA1111()
    executor = connected(fake)
    fake.endless = True
    executor.submit(request(), {}, "a")
    wait_for(lambda: executor.poll().step, "a step")
    fake.stop()
    with pytest.raises(HandBack, match="broke off") as died:
        wait_for(lambda: over(executor), "its end")
    assert died.value.counted
    late = connected(fake.start())
    fake.stop()
    late.health = lambda: None  # type: ignore[method-assign]
    late.submit(request(), {}, "a")
    with pytest.raises(HandBack, match="does not answer") as refused:
        wait_for(lambda: over(late), "its end")
    assert not refused.value.counted


def test_keys(connected: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAR_KEY", "user:password")
    for fake, sent in ((FakeA1111(), "Basic dXNlcjpwYXNzd29yZA=="), (FakeKandinsky(), "user:password")):
        executor = connected(fake, credentials_env="FAR_KEY")
        assert executor.health() is None
        assert {headers.get("authorization") for headers in fake.headers} == {sent}


SAID = [
    (404, {"error": "HTTPException", "detail": "Script not found", "body": "", "errors": ""}, "Script not found"),
    (400, {"error": "ValueError", "detail": "", "errors": "bad seed"}, "ValueError: bad seed"),
    (422, {"detail": [{"loc": ["body", "steps"], "msg": "not a whole number", "type": "t"}, {"loc": [], "msg": "no"}]},
     "steps: not a whole number; no"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body", "text"), SAID)
def test_a_refusal_with_a_reason_is_the_jobs_end(status: int, body: Any, text: str) -> None:
    assert responses.error_text(body) == text
    with pytest.raises(BackendFailed, match=text):
        posting.check(posting.PostResponse(status, json.dumps(body).encode()), "far-1")


@pytest.mark.parametrize(("status", "content"), [(404, b"<html>tunnel not found"), (500, b'{"error": "OutOfMemory"}'),
                                                  (401, b'"Invalid Authorization"'), (302, b"")])  # fmt: skip
def test_others_let_the_job_run_elsewhere(status: int, content: bytes) -> None:
    with pytest.raises(HandBack, match=f"far-1 answers {status}") as found:
        posting.check(posting.PostResponse(status, content), "far-1")
    assert found.value.counted


def test_the_senders_own_split_and_checkpoint_stay() -> None:
    sent = {"batch_size": 2, "n_iter": 3, "override_settings": {"eta": 1}}
    body = body_of(request(num_images=6, passthrough=sent), {}, "their-name", "t")
    assert (body["batch_size"], body["n_iter"]) == (2, 3)
    assert body["override_settings"] == {"sd_model_checkpoint": "their-name", "eta": 1}
    sent = {"batch_size": 2, "n_iter": 3, "override_settings": {"sd_model_checkpoint": "own"}}
    body = body_of(request(num_images=1, passthrough=sent), {}, "their-name", "t")
    assert (body["batch_size"], body["n_iter"]) == (1, 1)
    assert body["override_settings"] == {"sd_model_checkpoint": "own"}
    body = body_of(request(num_images=4, loras=[{"name": "cat", "weight": 0.5}], seed=2**40), {}, "", "t")
    assert (body["prompt"], body["batch_size"], body["seed"]) == ("ours <lora:cat:0.5>", 4, 2**40)
    assert "override_settings" not in body


@pytest.mark.parametrize(
    "fields",
    [
        {"variation": {"seed": 1, "strength": 0.5}},
        {"hires": {"width": 32, "height": 32, "steps": 3, "strength": 0.7}},
        {"prior": {"steps": 5}},
    ],
    ids=str,
)
def test_a_lightx2v_server_is_not_sent_what_it_cannot_do(fields: dict[str, Any]) -> None:
    """No server listens there: the job is refused before anything is sent."""
    executor = connect(Backend(name="x", type="lightx2v", endpoint="http://127.0.0.1:9", models={"m": ""}), "fm1")
    with contextlib.closing(executor), pytest.raises(BackendFailed, match=f"cannot do this: {next(iter(fields))}"):
        executor.submit(request(**fields), {}, "run")
