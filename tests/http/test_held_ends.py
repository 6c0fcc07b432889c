"""The end of a held request without a response that was received: the same in every protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

from app import waiting
from app.protocols.openai.images import views
from jobs.errors import Unavailable
from tests.support import documented, tiny
from tests.support.a1111_client import Impatient
from tests.support.aime_endpoint import LOCAL_ENDPOINT
from tests.support.api import PATIENCE_S, wait_for
from tests.support.served_app import ServedApp

SIZE = {"width": 32, "height": 32}
#: Route of each protocol, with a body whose seed is fixed: an equal one is a repeat.
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "a1111": ("/sdapi/v1/txt2img", {"prompt": "a", "steps": 2, "seed": 7, **SIZE}),
    "aime": ("/tiny", {"prompt": "a", "seed": 7, "wait_for_result": True}),
    "huggingface": ("/hf/tiny-image", {"inputs": "a", "parameters": {"seed": 7, **SIZE}}),
    "openai": ("/v1/images/generations", {"prompt": "a", "size": "32x32", "seed": 7}),
}


class Fault:
    """The next wait for a job ends with this error."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def __call__(self, *args: Any) -> Any:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return waiting_until_over(*args)


waiting_until_over = waiting.wait_until_over


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    (endpoints / "aime_api_endpoint.cfg").write_text(LOCAL_ENDPOINT)
    app = serve(tiny.DRAWN, ENDPOINTS_DIR=endpoints)
    app.worker("tiny-image")
    return app


@pytest.fixture
def fault(monkeypatch: pytest.MonkeyPatch) -> Fault:
    fault = Fault()
    monkeypatch.setattr(waiting, "wait_until_over", fault)
    return fault


def send(app: ServedApp, protocol: str, **more: Any) -> requests.Response:
    path, body = CALLS[protocol]
    return requests.post(app.url(path), json={**body, **more}, timeout=PATIENCE_S)


def job_ids(app: ServedApp) -> list[str]:
    return [job["id"] for job in app.get("/v1/jobs?limit=500").json()["jobs"]]


@pytest.mark.parametrize("protocol", CALLS)
def test_after_a_bug_an_equal_body_is_a_new_request(app: ServedApp, fault: Fault, protocol: str) -> None:
    before = len(job_ids(app))
    fault.error = RuntimeError("a bug")
    assert send(app, protocol).status_code == 500
    assert all("→ 500" in misfit for misfit in documented.take_misfits()), "a bug need not be documented"
    assert len(job_ids(app)) == before + 1
    repeat = send(app, protocol)
    assert (repeat.status_code, len(job_ids(app))) == (200, before + 2), repeat.text[:300]


@pytest.mark.parametrize("protocol", CALLS)
def test_while_redis_is_away_the_job_is_kept_for_a_repeat(app: ServedApp, fault: Fault, protocol: str) -> None:
    before = len(job_ids(app))
    fault.error = Unavailable("Redis does not respond")
    assert send(app, protocol).status_code == 503
    repeat = send(app, protocol)
    assert (repeat.status_code, len(job_ids(app))) == (200, before + 1), repeat.text[:300]


@pytest.mark.parametrize("protocol", [*CALLS, "a stream"])
def test_a_client_may_ask_that_its_jobs_stop_with_the_connection(app: ServedApp, protocol: str) -> None:
    path, body = CALLS["openai" if protocol == "a stream" else protocol]
    sent = {**body, **({"stream": True} if protocol == "a stream" else {})}
    before = len(job_ids(app))
    requests.post(app.url("/v1/admin/pause"), json={}, timeout=PATIENCE_S)
    client = Impatient(app, sent, path, headers="Prefer: respond-async, cancel-on-disconnect\r\n")
    wait_for(lambda: len(job_ids(app)) == before + 1, "the job")
    client.hang_up()
    (stopped, *_) = job_ids(app)
    assert app.wait(stopped)["state"] == "cancelled"
    requests.post(app.url("/v1/admin/resume"), json={}, timeout=PATIENCE_S)
    repeat = requests.post(app.url(path), json=sent, timeout=PATIENCE_S)
    assert (repeat.status_code, len(job_ids(app))) == (200, before + 2)


def test_a_stream_ends_as_a_response_does(app: ServedApp, monkeypatch: pytest.MonkeyPatch) -> None:
    made, errors = views.completed_image, [RuntimeError("a bug")]

    def failing_once(*args: Any) -> Any:
        if errors:
            raise errors.pop()
        return made(*args)

    monkeypatch.setattr(views, "completed_image", failing_once)
    assert "image_generation.completed" not in send(app, "openai", stream=True).text
    before = len(job_ids(app))
    assert "image_generation.completed" in send(app, "openai", stream=True).text
    assert len(job_ids(app)) == before + 1


def test_a_chosen_id_can_be_looked_up_after_an_error(app: ServedApp, fault: Fault) -> None:
    fault.error = RuntimeError("a bug")
    assert send(app, "a1111", force_task_id="mine").status_code == 500
    (newest, *_) = job_ids(app)
    app.wait(newest)

    def known() -> Any:
        return requests.post(app.url("/internal/progress"), json={"id_task": "mine"}, timeout=90).json()

    assert wait_for(lambda: known()["completed"], "the end of the task")
