"""Texts that are no text and numbers that are none: refused by their field, never an error of the server."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.support import hostile_bodies
from tests.support.aime_endpoint import write_endpoint
from tests.support.aime_peers import Client, Worker
from tests.support.hostile_bodies import JSON
from tests.support.served_app import ServedApp
from tests.support.service import Service
from tests.support.tiny import BASE

BAD = b"\xff\xfe\xc3"
#: Path, body with a gap, and the name of the field.
FIELDS = (
    ("/v1/jobs", '{{"prompt":{}}}', "prompt"),
    ("/v1/jobs", '{{"loras":[{{"name":{}}}]}}', "loras[0].name"),
    ("/v1/jobs", '{{"unknown":{{"deep":[{}]}}}}', "unknown.deep[0]"),
    ("/v1/tasks/image/", '{{"save_result_path":{}}}', "save_result_path"),
    ("/sdapi/v1/txt2img", '{{"override_settings":{{"x":{}}}}}', "override_settings.x"),
    ("/sdapi/v1/options", '{{"samples_format":{}}}', "samples_format"),
    ("/draw", '{{"prompt":"x","options":[{}]}}', "options[0]"),
)
HEADERS = ("Authorization: Bearer ", "Authorization: Basic ", "Authorization: ", "Idempotency-Key: ", "Prefer: wait=",
           "Last-Event-ID: ", "If-None-Match: ", "Range: bytes=", "If-Range: ", "Cookie: session=", "service: ",
           "Content-Type: ", "Content-Type: multipart/form-data; boundary=", "Accept: ")  # fmt: skip
QUERIES = ("/v1/jobs?state=%ff", "/v1/jobs?after=%00", "/v1/jobs?limit=" + "9" * 5000, "/v1/jobs?wait=%ff",
           "/v1/jobs/%ED%A0%80", "/v1/jobs/%00", "/v1/jobs/x/result?index=%C2%B2", "/draw/progress?job_id=%00",
           "/draw/login?key=%ff", "/img/%ff.jpg", "/v1/files/download/%ff", "/stream_progress?job_id=%ff",
           "/api/validate_key?key=%ff", "/ws/%ff", "/draw?prompt=a%00b&wait_for_result=false")  # fmt: skip


CALLS = (("POST", "/v1/jobs", b'{"model":"none"}'), ("GET", "/v1/jobs", b""), ("GET", "/ws/x", b""),
         ("POST", "/sdapi/v1/png-info", b"{}"), ("POST", "/draw", b"{}"), ("POST", "/worker_login", b"{}"),
         ("GET", "/v1/jobs/x/events", b""), ("POST", "/v1/tasks/image/", b'{"model":"none"}'))  # fmt: skip


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints, timeout_s="3", outputs='figures = { type = "json" }')
    return serve(BASE, ENDPOINTS_DIR=endpoints)


@pytest.mark.parametrize("text", [*hostile_bodies.NO_TEXTS.values(), *hostile_bodies.NO_NUMBERS.values()],
                         ids=[*hostile_bodies.NO_TEXTS, *hostile_bodies.NO_NUMBERS])  # fmt: skip
def test_the_field_is_named(mill: ServedApp, text: str) -> None:
    for path, body, field in FIELDS:
        content = body.format(text).encode()
        response = requests.post(mill.url(path), data=content, headers={"Content-Type": JSON}, timeout=90)
        assert response.status_code in (400, 422), (path, response.text[:200])
        assert field in response.text, path


@pytest.mark.parametrize("content", hostile_bodies.MALFORMED.values(), ids=hostile_bodies.MALFORMED)
def test_what_is_not_json_is_a_clients_error(mill: ServedApp, content: bytes) -> None:
    for path in sorted({path for path, _, _ in FIELDS}):
        response = requests.post(mill.url(path), data=content, headers={"Content-Type": JSON}, timeout=90)
        assert response.status_code in (400, 422), (path, response.text[:200])


def raw(mill: ServedApp, method: str, path: str, header: bytes = b"X: x", body: bytes = b"") -> int:
    with socket.create_connection(("127.0.0.1", mill.port), timeout=30) as connection:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{length}".encode()
        connection.sendall(head + header + b"\r\n\r\n" + body)
        return int(connection.recv(65536).split()[1])


@pytest.mark.parametrize("header", HEADERS)
def test_headers_beyond_ascii_are_no_error_of_the_server(mill: ServedApp, header: str) -> None:
    for method, path, body in CALLS:
        assert raw(mill, method, path, header.encode() + BAD, body) < 500, path


@pytest.mark.parametrize("path", QUERIES)
def test_queries_and_paths_beyond_ascii_are_no_error_of_the_server(mill: ServedApp, path: str) -> None:
    for method, body in (("GET", b""), ("POST", b"{}"), ("DELETE", b"")):
        assert raw(mill, method, path, f"Content-Type: {JSON}".encode(), body) < 500, method


class RawWorker(Worker):
    """Writes JSON as Python does, which the HTTP library would refuse."""

    def post(self, path: str, body: Any, timeout_s: float = 60.0) -> requests.Response:
        return requests.post(self.url + path, data=json.dumps(body).encode(), timeout=timeout_s)


def test_no_number_of_a_worker_makes_json_that_others_cannot_read(mill: ServedApp) -> None:
    def strange(worker: Worker, data: dict[str, Any]) -> dict[str, Any]:
        worker.send_progress(data, float("nan"), {"text": "half"})
        return {"seed": float("inf"), "figures": [1.5, float("nan"), {"a": "\ud800"}], "pending_duration": float("nan")}

    with RawWorker(mill.url(""), compute=strange):
        client = Client(mill.url(""), "draw")
        response = client.send(prompt="x")
    result = json.loads(response.content.decode(), parse_constant=pytest.fail)
    assert result["success"] is True
    assert result["figures"] == [1.5, None, {"a": "\ufffd"}]
    assert result.get("seed") is None


def test_numbers_that_are_stored_already_do_not_reach_a_client(mill: ServedApp) -> None:
    with mill.app.test_request_context():
        text = mill.app.json.dumps({"a": [float("nan"), float("-inf"), 1]})
    assert json.loads(text) == {"a": [None, None, 1]}


def test_a_file_name_in_any_script_is_downloaded_under_it(service: Service) -> None:
    for name in ("Küche.png", "漢字 и 😀.png", 'a"b;c.png'):
        response = service.post("/v1/tasks/image/", json={"prompt": "x", "save_result_path": name})
        assert response.status_code == 200, response.text
        service.finish()
        task = response.get_json()["task_id"]
        for path in (f"/v1/tasks/{task}/result", f"/v1/files/download/{quote(name)}"):
            for options in ({}, {"headers": {"Range": "bytes=0-3"}}, {"method": "HEAD"}):
                download = service.client.open(path, **options)
                assert download.status_code in (200, 206)
                disposition = download.headers["Content-Disposition"]
                assert disposition.isascii()
                assert name.isascii() or f"filename*=UTF-8''{quote(name)}" in disposition
