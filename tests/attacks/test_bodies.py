"""Bodies that cost far more than they weigh, on every route: refused before they are built."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
import requests

from jobs.settings import Settings
from tests.http.test_devoid import request as devoid_request
from tests.support import hostile_bodies
from tests.support.aime_endpoint import write_endpoint
from tests.support.devoid_client import Client
from tests.support.hostile_bodies import JSON, Body
from tests.support.served_app import ServedApp
from tests.support.tiny import BASE

SIZE = 3_000_000
#: Bodies that are refused; the others weigh what they cost.
REFUSED = sorted(set(hostile_bodies.BODIES) - hostile_bodies.HONEST - {"escaped_letters", "form_escapes"})
#: Where a key may be in the header or the query.
WITH_KEYS = ("/v1/jobs", "/v1/tasks/", "/sdapi/v1/txt2img", "/draw", "/draw?key=wrong", "/worker_job_result")
ROUTES = ("/v1/jobs", "/v1/jobs/cancel", "/v1/tasks/", "/v1/tasks/image/", "/sdapi/v1/txt2img", "/sdapi/v1/options",
          "/internal/progress", "/draw", "/draw/cancel", "/worker_login", "/worker_check_server_status")  # fmt: skip
KEY = {"Authorization": "Bearer admin-secret-of-ops"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints, timeout_s="1")
    return serve(
        BASE, ENDPOINTS_DIR=endpoints, API_KEYS="ops:admin-secret-of-ops:admin", SERVICES="telegram:key-of-the-service",
        MAX_REQUEST_BYTES=4_000_000
    )  # fmt: skip


def post(mill: ServedApp, path: str, body: Body, **headers: str) -> requests.Response:
    return requests.post(mill.url(path), data=body.content, headers={**body.headers, **KEY, **headers}, timeout=60)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_on_every_route(made: ServedApp, name: str) -> None:
    body = hostile_bodies.BODIES[name](SIZE)
    for path in ROUTES:
        headers = {"Authorization": ""} if path.startswith("/worker") else {}
        response = post(made, path, body, **headers)
        assert response.status_code in (400, 413, 422), (path, response.status_code, response.text[:200])
        assert response.json()


@pytest.mark.parametrize("path", ["/worker_job_result", "/worker_job_progress"])
def test_what_a_worker_would_send_again_without_end_is_read_and_answered(made: ServedApp, path: str) -> None:
    response = post(made, path, hostile_bodies.empty_lists(SIZE), Authorization="")
    answers = response.json()
    answer = answers[0] if isinstance(answers, list) else answers
    assert (response.status_code, answer["cmd"]) == (200, "warning")


def test_the_socket_refuses_it_and_stays(made: ServedApp) -> None:
    client = Client(made, "telegram", "key-of-the-service")
    for name in ("empty_lists", "many_keys", "one_text", "escaped_quotes"):
        client.send(hostile_bodies.BODIES[name](SIZE).content.decode())
        error = client.next()
        assert (error["gen_status"], error["result"]["content"].split()[0]) == ("error", "`message`")
    client.send(devoid_request({"prompt": "x", "steps": 0}))
    assert "steps" in client.next()["result"]["content"]
    client.close()


@pytest.mark.parametrize("path", WITH_KEYS)
def test_the_key_is_checked_before_the_body_is_read(made: ServedApp, path: str) -> None:
    with socket.create_connection(("127.0.0.1", made.port), timeout=20) as connection:
        head = (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
                f"Authorization: Bearer wrong\r\nContent-Length: 3000000\r\n\r\n")  # fmt: skip
        connection.sendall(head.encode())  # and nothing of the body
        assert connection.recv(65536).split()[1] == b"401"


@pytest.mark.parametrize("path", ["/v1/jobs", "/draw", "/sdapi/v1/png-info"])
def test_a_chunked_body_over_the_limit_is_too_large(made: ServedApp, path: str) -> None:
    chunks = (b" " * 100_000 for _ in range(60))
    response = requests.post(made.url(path), data=chunks, headers={"Content-Type": JSON, **KEY}, timeout=60)
    assert response.status_code == 413, response.text


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n0\r\n\r\n", b"-5\r\nabcde\r\n0\r\n\r\n", b"3\r\nabcXX0\r\n\r\n"])
@pytest.mark.parametrize("path", ["/v1/jobs", "/draw", "/sdapi/v1/txt2img", "/worker_login"])
def test_chunks_that_are_none_are_a_clients_error(made: ServedApp, path: str, chunks: bytes) -> None:
    with socket.create_connection(("127.0.0.1", made.port), timeout=20) as connection:
        authorization = "" if path.startswith("/worker") else "Authorization: Bearer admin-secret-of-ops\r\n"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{authorization}Transfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + chunks)
        assert connection.recv(65536).split()[1] == b"400"


def test_a_list_of_progress_asks_the_store_for_nothing_if_it_is_too_long(made: ServedApp) -> None:
    before = made.store.client.info("stats")["total_commands_processed"]
    response = post(made, "/worker_job_progress", hostile_bodies.progress_list(10_000), Authorization="")
    assert response.status_code == 400
    after = made.store.client.info("stats")["total_commands_processed"]
    assert after - before < 200


def test_a_lora_without_an_end_is_a_long_prompt(made: ServedApp) -> None:
    prompt = hostile_bodies.lora_prompt(90_000)
    assert post(made, "/v1/jobs", Body(JSON, json.dumps({"prompt": prompt}).encode())).status_code == 201
    refused = post(made, "/sdapi/v1/txt2img", Body(JSON, json.dumps({"prompt": prompt, "steps": 0}).encode()))
    assert (refused.status_code, "steps" in refused.text) == (422, True)


def test_pictures_may_be_as_large_as_before(made: ServedApp) -> None:
    response = post(made, "/v1/jobs", hostile_bodies.picture_in_json(3_900_000))
    assert response.status_code == 422
    assert response.json()["error"]["fields"][0]["field"] == "image"


def test_the_default_of_a_result_is_larger_than_that_of_a_request() -> None:
    options: Any = Settings.of().web
    assert options.max_result_bytes >= 100_000_000 > options.max_request_bytes > options.max_json_bytes
