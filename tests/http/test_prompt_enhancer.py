"""Prompts that a function or a service of the operator rewrites before jobs are queued."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from jobs.errors import BadSetting
from jobs.requests import enhancing
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from tests.support.receiver import Receiver, receiving
from tests.support.served_app import ServedApp

MODELS = '[painter]\nkinds = ["text2img"]\nexecutor = "drawing"\ndefaults = { steps = 2, width = 32, height = 32 }\n'


def louder(request: GenerationRequest, settings: Settings) -> str:
    if request.prompt == "fail":
        raise ValueError("no idea")
    return f"{request.prompt}, {request.kind}, in great detail "


def submitted(app: ServedApp, status: int = 201, **fields: Any) -> dict[str, Any]:
    response = requests.post(app.url("/v1/jobs"), json={"prompt": "a cat", **fields}, timeout=60)
    assert response.status_code == status, response.text
    return dict(response.json())


def prompts(job: dict[str, Any]) -> tuple[str, str | None]:
    return job["request"]["prompt"], job["request"].get("original_prompt")


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve(MODELS, PROMPT_ENHANCER="tests.http.test_prompt_enhancer:louder")
    app.worker("painter")
    return app


def test_a_function_rewrites_the_prompt_of_a_request_that_asks_for_it(app: ServedApp) -> None:
    assert prompts(submitted(app)) == ("a cat", None)
    assert prompts(submitted(app, enhance_prompt=False)) == ("a cat", None)
    assert prompts(submitted(app, enhance_prompt=True)) == ("a cat, text2img, in great detail", "a cat")


def test_a_failure_leaves_the_callers_words_and_says_so(app: ServedApp) -> None:
    job = submitted(app, prompt="fail", enhance_prompt=True)
    assert prompts(job) == ("fail", None)
    assert job["warnings"] == ["the prompt was not enhanced: the server's enhancer failed"]


def test_lightx2v_and_openai_have_their_own_words(app: ServedApp) -> None:
    task: dict[str, Any] = {"prompt": "a cat", "use_prompt_enhancer": True}
    answer = requests.post(app.url("/v1/tasks/image/"), json=task, timeout=60).json()
    status = app.get(f"/v1/tasks/{answer['task_id']}/status").json()
    assert status["request"]["original_prompt"] == "a cat"
    assert not [text for text in status["warnings"] if "enhancer" in text]
    body: dict[str, Any] = {"prompt": "a cat", "enhance_prompt": True}
    [image] = requests.post(app.url("/v1/images/generations"), json=body, timeout=60).json()["data"]
    assert image["revised_prompt"] == "a cat, text2img, in great detail"


def test_a_repeat_is_not_rewritten_again(app: ServedApp) -> None:
    job = submitted(app, enhance_prompt=True)
    again = requests.post(app.url(f"/v1/jobs/{job['id']}/repeat"), json={}, timeout=60).json()
    assert prompts(again) == prompts(job)


def test_a_server_without_one_refuses_to_try(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS)
    [field] = submitted(app, 422, enhance_prompt=True)["error"]["fields"]
    assert field["field"] == "enhance_prompt"
    assert field["rule"] == "is not supported: this server has no prompt enhancer"
    submitted(app, enhance_prompt=False)


@pytest.fixture
def service() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def answering(status: int, body: bytes) -> Callable[[Any], None]:
    def answer(handler: Any) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def test_a_service_rewrites_all_prompts(serve: Callable[..., ServedApp], service: Receiver) -> None:
    app = serve(MODELS, PROMPT_ENHANCER=service.url, ENHANCE_PROMPTS="1", PROMPT_ENHANCER_TIMEOUT_S="2")
    service.answers = [answering(200, json.dumps({"prompt": "a big cat"}).encode())]
    assert prompts(submitted(app, negative_prompt="dogs")) == ("a big cat", "a cat")
    assert service.messages[0].json == {
        "prompt": "a cat", "negative_prompt": "dogs", "model": "painter", "kind": "text2img",
    }  # fmt: skip
    assert prompts(submitted(app, enhance_prompt=False)) == ("a cat", None)
    assert len(service.messages) == 1
    bad = [(500, b"{}"), (200, b"no JSON"), (200, b"[]"), (200, b'{"prompt": " "}'), (200, b"x" * 100_000), (204, b"")]
    for status, body in bad:
        service.answers = [answering(status, body)]
        job = submitted(app)
        assert prompts(job) == ("a cat", None)
        assert job["warnings"] == ["the prompt was not enhanced: the server's enhancer failed"]


@pytest.mark.parametrize("value", ["no.such:thing", "json", "json:__doc__", "http://"])
def test_one_that_cannot_be_called_stops_the_server(value: str) -> None:
    with pytest.raises(BadSetting, match="PROMPT_ENHANCER"):
        enhancing.verify(Settings.from_env({"PROMPT_ENHANCER": value, "REDIS_URL": "redis://none"}))
