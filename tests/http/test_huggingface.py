"""Hugging Face's inference calls over HTTP: bodies, formats, errors, and clients that hang up."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from PIL import Image

from app.protocols.huggingface import generation
from app.protocols.huggingface.states import STATUS
from jobs.states import JobState
from tests.support import documented, tiny
from tests.support.api import ENDLESS_STEPS, PATIENCE_S, wait_for
from tests.support.pictures import PNG
from tests.support.served_app import ServedApp
from tests.support.service import Service, first_key, key

IMAGE = base64.b64encode(PNG).decode()
PROMPT = {"inputs": "a red circle"}


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve(tiny.DRAWN.replace("[tiny-image]", '[tiny-image]\naliases = ["owner/known"]'))
    app.worker("tiny-image", "tiny-video", "broken")
    return app


@pytest.fixture(autouse=True)
def _idle(app: ServedApp) -> Iterator[None]:
    yield
    app.workers[0].step_s = 0.0
    requests.post(app.url("/v1/jobs/cancel"), json={"waiting": True}, timeout=90)
    wait_for(lambda: not open_jobs(app), "all jobs to end")


def call(app: ServedApp, body: Any, model: str = "tiny-image", **headers: str) -> requests.Response:
    """Send a body: an object as JSON, bytes as they are."""
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(app.url(f"/hf/{model}"), headers=named, timeout=PATIENCE_S, **sent)


def jobs(app: ServedApp) -> list[dict[str, Any]]:
    return list(app.get("/v1/jobs", params={"limit": 500}).json()["jobs"])


def open_jobs(app: ServedApp) -> list[dict[str, Any]]:
    return [job for job in jobs(app) if job["state"] in ("queued", "running", "delivering")]


def made(response: requests.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def request_of(app: ServedApp, response: requests.Response) -> dict[str, Any]:
    """Return the request of the job whose output a response has."""
    assert response.status_code == 200, response.text
    return dict(app.get(f"/v1/jobs/{response.headers['X-Request-Id']}").json()["request"])


def test_every_state_has_a_status() -> None:
    assert set(STATUS) == set(JobState)
    assert all((status is None) == (not state.is_terminal) for state, status in STATUS.items())


def test_every_parameter_of_a_picture_has_its_effect(app: ServedApp) -> None:
    parameters = {"negative_prompt": "blur", "guidance_scale": 2.5, "num_inference_steps": 3, "width": 48,
                  "height": 64, "seed": 7, "scheduler": None}  # fmt: skip
    response = call(app, {"inputs": "a red circle", "parameters": parameters})
    assert (made(response).size, response.headers["Content-Type"]) == ((48, 64), "image/png")
    used = request_of(app, response)
    expected = {"prompt": "a red circle", "negative_prompt": "blur", "guidance_scale": 2.5, "steps": 3, "width": 48,
                "height": 64, "seed": 7, "kind": "text2img", "model": "tiny-image"}  # fmt: skip
    assert {name: used[name] for name in expected} == expected


def test_every_parameter_of_a_video_has_its_effect(app: ServedApp) -> None:
    parameters = {"negative_prompt": ["blur", "noise"], "guidance_scale": 2, "num_inference_steps": 2,
                  "num_frames": 17.0, "seed": 3, "fps": 12}  # fmt: skip
    response = call(app, {"inputs": "a star", "parameters": parameters}, "tiny-video")
    assert response.headers["Content-Type"] == "video/mp4"
    assert response.content[4:8] == b"ftyp"
    used = request_of(app, response)
    assert (used["kind"], used["negative_prompt"], used["frames"], used["fps"], used["steps"]) == (
        "text2video", "blur, noise", 17, 12, 2)  # fmt: skip


@pytest.mark.parametrize("inputs", [IMAGE, f"data:image/png;base64,{IMAGE}"])
def test_a_picture_in_inputs_is_changed(app: ServedApp, inputs: str) -> None:
    parameters = {"prompt": "a cat", "strength": 0.5, "target_size": {"width": 64, "height": 32}}
    response = call(app, {"inputs": inputs, "parameters": parameters})
    assert made(response).size == (64, 32)
    used = request_of(app, response)
    assert (used["kind"], used["prompt"], used["strength"]) == ("img2img", "a cat", 0.5)


def test_a_picture_needs_no_prompt(app: ServedApp) -> None:
    for body in (PNG, {"inputs": IMAGE}):
        response = call(app, body)
        assert request_of(app, response)["kind"] == "img2img"
        assert made(response).size == (32, 24)  # the shape of the picture


def test_a_picture_becomes_a_video(app: ServedApp) -> None:
    for body in (PNG, {"inputs": IMAGE, "parameters": {"num_frames": 9}}):
        response = call(app, body, "tiny-video")
        assert response.headers["Content-Type"] == "video/mp4"
        assert request_of(app, response)["kind"] == "img2video"


@pytest.mark.parametrize(
    ("model", "accept", "media_type"),
    [
        ("tiny-image", "image/png", "image/png"),
        ("tiny-image", "image/webp, image/png;q=0.5", "image/webp"),
        ("tiny-image", "image/avif, image/jpeg;q=0.9, */*;q=0.1", "image/jpeg"),
        ("tiny-image", "video/mp4", "image/png"),
        ("tiny-image", "image/*, image/jpeg;q=0.5", "image/png"),
        ("tiny-video", "image/png", "video/mp4"),
        ("tiny-video", "video/webm", "video/webm"),
    ],
)
def test_accept_chooses_the_format(app: ServedApp, model: str, accept: str, media_type: str) -> None:
    response = call(app, PROMPT, model, Accept=accept)
    assert (response.status_code, response.headers["Content-Type"]) == (200, media_type)


def test_what_was_ignored_is_said(app: ServedApp) -> None:
    response = call(app, {**PROMPT, "parameters": {"eta": 1}, "provider": "x"})
    assert "'parameters.eta'" in response.headers["X-HF-Warning"]
    assert "'provider'" in response.headers["X-HF-Warning"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 422, "`inputs` is required"),
        ({"inputs": 7}, 422, "`inputs` must be text"),
        ({**PROMPT, "parameters": {"num_inference_steps": 0}}, 422, "`parameters.num_inference_steps` must be"),
        ({**PROMPT, "parameters": {"target_size": {"width": 5, "height": 32}}}, 422, "`parameters.target_size.width`"),
        ({**PROMPT, "parameters": 7}, 422, "`parameters` must be an object"),
        ({"inputs": "no picture", "parameters": {"prompt": "a cat"}}, 422, "`inputs` must be"),
        (b"GIF89a", 422, "`inputs` "),
        (b"{", 400, "`body` "),
    ],
)
def test_wrong_requests_are_refused(app: ServedApp, body: Any, status: int, words: str) -> None:
    response = call(app, body)
    assert (response.status_code, set(response.json())) == (status, {"error", "error_type"})
    assert words in response.json()["error"]


def test_a_model_has_other_names(app: ServedApp) -> None:
    assert request_of(app, call(app, PROMPT, "owner/known"))["model"] == "tiny-image"
    for model in ("owner/known", "any/tiny-image"):
        url = app.url(f"/v1/models/{model}/predictions")
        made = requests.post(url, json={"input": {"prompt": "x"}}, timeout=90).json()
        assert made["model"].endswith("/tiny-image")


def test_an_unknown_model_is_not_found(app: ServedApp) -> None:
    for name in ("tiny-imag", "owner/tiny"):
        response = call(app, PROMPT, name)
        assert (response.status_code, response.json()["error_type"]) == (404, "model_not_found")


def test_without_a_slot_the_model_is_loading(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "PAUSE_S", 0)
    response = service.post("/hf/broken", json=PROMPT)
    assert (response.status_code, response.get_json()["estimated_time"] > 0) == (503, True)
    assert "loading" in response.get_json()["error"]
    assert service.json("/v1/jobs")["jobs"] == []


@pytest.mark.parametrize(
    "asks", [{"headers": {"X-Wait-For-Model": "true"}}, {"json": {**PROMPT, "options": {"wait_for_model": True}}}]
)
def test_a_client_may_wait_for_a_slot(service: Service, asks: dict[str, Any]) -> None:
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(_post_apart(service, asks)))
    thread.start()
    (job,) = wait_for(lambda: service.json("/v1/jobs")["jobs"], "the job that waits for a slot")
    assert (job["state"], job["waiting_for"]) == ("queued", "model broken")
    service.cancel(job["id"])
    thread.join(PATIENCE_S)
    assert answers == [409]


def _post_apart(service: Service, options: dict[str, Any]) -> int:
    client = service.app.test_client(use_cookies=False)
    return int(client.post("/hf/broken", **{"json": PROMPT, **options}).status_code)


def test_keys(service: Service) -> None:
    boss = first_key(service)
    wrong = service.post("/hf/tiny-image", json=PROMPT, headers={"Authorization": "Bearer hf_wrong"})
    assert (wrong.status_code, wrong.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert wrong.get_json()["error"] == "this key is unknown"
    other = key(service, "shop", admin=boss, models=["tiny-video"])
    refused = service.post("/hf/tiny-image", json=PROMPT, headers=other)
    assert (refused.status_code, refused.headers["X-Error-Message"]) == (403, refused.get_json()["error"])


def test_a_job_that_ends_otherwise_is_an_error(app: ServedApp) -> None:
    failed = call(app, PROMPT, "broken")
    assert (failed.status_code, failed.json()["error_type"]) == (500, "model_load_failed")
    app.workers[0].step_s = 0.05
    thread, answers = _waiting(app, {**PROMPT, "parameters": {"num_inference_steps": ENDLESS_STEPS}})
    (job,) = wait_for(lambda: open_jobs(app), "the job")
    app.cancel(job["id"])
    thread.join(PATIENCE_S)
    assert (answers[0].status_code, answers[0].json()["error_type"]) == (409, "cancelled")


def _waiting(app: ServedApp, body: Any) -> tuple[threading.Thread, list[requests.Response]]:
    answers: list[requests.Response] = []
    thread = threading.Thread(target=lambda: answers.append(_raw(app, body)), daemon=True)
    thread.start()
    return thread, answers


def _raw(app: ServedApp, body: Any) -> requests.Response:
    """Send the same bytes and headers as :func:`_leaving`."""
    headers = {"Content-Type": "application/json", "Accept": "image/png"}
    return requests.post(app.url("/hf/tiny-image"), data=json.dumps(body), headers=headers, timeout=PATIENCE_S)


def _leaving(app: ServedApp, body: Any) -> socket.socket:
    """Send a request on a connection that the caller closes."""
    data = json.dumps(body).encode()
    head = f"POST /hf/tiny-image HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\nAccept: image/png\r\n"
    connection = socket.create_connection(("127.0.0.1", app.port), timeout=PATIENCE_S)
    connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + data)
    return connection


def test_a_repeat_of_a_lost_request_receives_its_job(app: ServedApp) -> None:
    body = {"inputs": "a circle that is asked for twice", "parameters": {"num_inference_steps": 40}}
    before = len(jobs(app))
    app.workers[0].step_s = 0.05
    connection = _leaving(app, body)
    (job,) = wait_for(lambda: open_jobs(app), "the job")
    connection.close()
    app.workers[0].step_s = 0.0
    answer = _raw(app, body)
    assert (answer.status_code, answer.headers["X-Request-Id"], len(jobs(app))) == (200, job["id"], before + 1)
    second = _raw(app, body)  # that response was delivered, and the seed is random
    assert second.headers["X-Request-Id"] != job["id"]
    requests.get(app.url("/sdapi/v1/progress"), timeout=90)
    assert documented.take_misfits() == []


def test_other_protocols_do_not_stop_these_requests(app: ServedApp) -> None:
    app.workers[0].step_s = 0.05
    thread, answers = _waiting(app, {**PROMPT, "parameters": {"num_inference_steps": 40}})
    wait_for(lambda: any(job["progress"]["step"] for job in open_jobs(app)), "a step")
    requests.post(app.url("/sdapi/v1/interrupt"), timeout=90)
    app.workers[0].step_s = 0.0
    thread.join(PATIENCE_S)
    assert answers[0].status_code == 200


def test_a_request_whose_job_is_paused_is_answered_when_it_was_resumed(app: ServedApp) -> None:
    app.workers[0].step_s = 0.05
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(call, app, {**PROMPT, "parameters": {"num_inference_steps": 20}})
        (job,) = wait_for(lambda: [job for job in open_jobs(app) if job["progress"]["step"] > 2], "some steps")
        app.pause(job["id"])
        assert not asked.done()
        app.resume(job["id"])
        assert made(asked.result()).size
