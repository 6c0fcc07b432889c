"""A job store that refuses writes: every protocol reports it with the reason, and accepts the same request later."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.aime_endpoint import write_endpoint
from tests.support.devoid_client import MODELS, Client
from tests.support.refusing_redis import REFUSALS, unsaved
from tests.support.served_app import ServedApp

PROMPT = {"prompt": "a"}
every_refusal = pytest.mark.parametrize("refuse", REFUSALS, ids=lambda refuse: refuse.__name__)


def framemill(why: str) -> dict[str, Any]:
    return {"detail": why, "error": {"code": "unavailable", "message": why, "fields": []}}


#: Path of a submission → its body, how it is sent, and what a refusal for a reason contains.
SUBMISSIONS: dict[str, tuple[dict[str, Any], str, Callable[[str], dict[str, Any]]]] = {
    "/v1/jobs": (PROMPT, "json", framemill),
    "/v1/tasks/image/": (PROMPT, "json", framemill),
    "/v1/tasks/image/form": (PROMPT, "data", framemill),
    "/sdapi/v1/txt2img": (PROMPT, "json", lambda why: {"errors": why}),
    "/draw": (PROMPT | {"wait_for_result": False}, "json", lambda why: {"error": [why], "success": False}),
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints)
    return serve(ENDPOINTS_DIR=endpoints)


def submit(app: ServedApp, path: str) -> requests.Response:
    body, sent_as, _ = SUBMISSIONS[path]
    return requests.post(app.url(path), timeout=90, **{sent_as: body})  # type: ignore[arg-type]


@every_refusal
def test_every_protocol_says_why_it_accepts_no_job_now(app: ServedApp, refuse: Any) -> None:
    job_id = submit(app, "/v1/jobs").json()["id"]
    with refuse(app.store.client):
        for path, (*_, refusal) in SUBMISSIONS.items():
            response = submit(app, path)
            assert response.status_code == 503, (path, response.text)
            assert int(response.headers["Retry-After"]) > 0, path
            why = next(text for text in texts_of(response.json()) if text.startswith("the job store "))
            assert why.startswith("the job store refuses writes: " + REFUSALS[refuse]), path
            assert response.json().items() >= refusal(why).items(), path
        for path in (f"/v1/jobs/{job_id}", "/v1/jobs", "/v1/queue", "/sdapi/v1/progress", "/healthz"):
            assert app.get(path).status_code == 200, path
        assert app.get(f"/v1/jobs/{job_id}/preview").status_code == 404
    for path in ("/v1/jobs", "/v1/tasks/image/", "/v1/tasks/image/form", "/draw"):
        assert submit(app, path).status_code < 300, path


def texts_of(value: Any) -> list[str]:
    """Return all strings in a JSON value."""
    if isinstance(value, str):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in values for text in texts_of(each)]


def test_a_socket_is_told_why_and_stays_open(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS, SERVICES="telegram:service_key")
    client = Client(app)
    client.send({"message_type": "info"})
    assert client.next()["message_type"] == "info"  # the server has registered the socket
    with unsaved(app.store.client):
        client.ask()
        (refused,) = client.until_over()
    assert refused["gen_status"] == "error"
    assert REFUSALS[unsaved] in str(refused["result"])
    client.ask()
    assert client.next()["gen_status"] == "queued"
    client.close()


def test_a_frozen_redis_is_an_outage_and_the_server_goes_on_afterwards(serve: Callable[..., ServedApp]) -> None:
    app = serve(REDIS_TIMEOUT_S="0.5")
    assert app.redis.pid
    os.kill(app.redis.pid, signal.SIGSTOP)
    try:
        for path in ("/v1/jobs", "/v1/fleet", "/v1/tasks/"):
            answer = requests.get(app.url(path), timeout=60)
            assert answer.status_code == 503, (path, answer.text)
        refused = app.post(model="tiny-image", prompt="a")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "unavailable")
        assert "Retry-After" in refused.headers
    finally:
        os.kill(app.redis.pid, signal.SIGCONT)
    assert app.post(model="tiny-image", prompt="a").status_code == 201
