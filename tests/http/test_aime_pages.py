"""Pages that configuration files of AIME publish, and what is answered below AIME's paths where there is no route."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import requests

from tests.support.aime_endpoint import write_endpoint
from tests.support.aime_peers import Client
from tests.support.raw_http import exchange, status_of
from tests.support.served_app import ServedApp

PAGES = """
[STATIC]
'/drawing/static' = { path = 'static' }
'/drawing/static/js/main.js' = { file = '../shared/main.js' }
'/drawing.html' = { file = 'plain.html' }
'/draw' = { file = 'plain.html' }
'/metrics' = { file = 'plain.html' }
'/docs' = { path = 'static' }
[HTML]
'/plain.html' = { file = 'plain.html' }
[JINJA]
'/escape' = { file = 'escape.html' }
'/drawing/' = { file = 'index.html', type = 'jinja2' }
"""
FILES = {
    "templates/endpoints/base.html": "<title>{{ endpoint_title }}</title>{% block content %}{% endblock %}",
    "endpoints/draw/index.html": "{% extends 'endpoints/base.html' %}{% block content %}"
    "<script src='/{{ endpoint_demo_url }}/static/js/main.js'></script>{{ '<' }}{% endblock %}",
    "endpoints/draw/escape.html": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "endpoints/draw/plain.html": "<p>plain</p>",
    "endpoints/draw/static/js/other.js": "other()",
    "endpoints/draw/static/style.css": "p {}",
    "endpoints/draw/static/.hidden": "secret",
    "endpoints/draw/static/aime_api_worker.cfg": "secret",
    "endpoints/shared/main.js": "main()",
    "secret.txt": "secret",
}
BROKEN = "[ENDPOINT]\nname = 'broken'\n[WORKER]\njob_type = ''\n"


@pytest.fixture(scope="module")
def aime(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    folder = tmp_path_factory.mktemp("aime")
    inputs = """
note = { type = "string", default = "", required = true }
chat_context = { type = "chat_context", default = "" }
"""
    write_endpoint(folder / "endpoints", endpoint='demo_url = "drawing"', pages=PAGES, inputs=inputs, timeout_s="1")
    for name, text in {**FILES, "endpoints/broken/aime_api_endpoint.cfg": BROKEN}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "endpoints" / "draw" / "static" / "out.txt").symlink_to(folder / "secret.txt")
    return serve(ENDPOINTS_DIR=folder / "endpoints")


def test_pages_are_served_at_their_addresses(aime: ServedApp) -> None:
    for path, media_type, text in (
        ("/drawing/static/js/main.js", "text/javascript", "main()"),
        ("/drawing/static/js/other.js", "text/javascript", "other()"),
        ("/drawing/static/style.css", "text/css", "p {}"),
        ("/drawing.html", "text/html", "<p>plain</p>"),
        ("/plain.html", "text/html", "<p>plain</p>"),
        ("/docs/style.css", "text/css", "p {}"),
    ):
        response = requests.get(aime.url(path), timeout=60)
        assert (response.status_code, response.text) == (200, text), path
        assert response.headers["Content-Type"].startswith(media_type), path
        assert "object-src 'none'" in response.headers["Content-Security-Policy"], path
        assert response.headers["X-Content-Type-Options"] == "nosniff", path
        assert "Access-Control-Allow-Origin" not in response.headers, path


def test_a_template_extends_a_base_in_a_sandbox(aime: ServedApp) -> None:
    for path in ("/drawing/", "/drawing"):
        response = requests.get(aime.url(path), timeout=60)
        expected = "<title>Drawing</title><script src='/drawing/static/js/main.js'></script>&lt;"
        assert (response.status_code, response.text) == (200, expected)
        assert "object-src 'none'" in response.headers["Content-Security-Policy"]
    assert requests.get(aime.url("/escape"), timeout=60).status_code == 404


def test_a_page_is_no_other_route(aime: ServedApp) -> None:
    assert requests.get(aime.url("/draw"), timeout=60).json()["error"] == ["prompt: is required", "note: is required"]
    assert "<p>plain" not in requests.get(aime.url("/metrics"), timeout=60).text
    assert "Framemill" in requests.get(aime.url("/docs"), timeout=60).text
    assert requests.post(aime.url("/plain.html"), timeout=60).status_code == 405


@pytest.mark.parametrize(
    "path",
    ["", "/", "/.hidden", "/aime_api_worker.cfg", "/out.txt", "/js", "/../index.html", "/%2e%2e/plain.html",
     "/..%2fplain.html", "/../../../secret.txt", "/js/../../plain.html", "/style.css%00", "//style.css/x"],
)  # fmt: skip
def test_nothing_else_of_a_folder_is_served(aime: ServedApp, path: str) -> None:
    head = f"GET /drawing/static{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    answer = exchange(aime.port, head.encode())
    assert status_of(answer) == 404, answer
    assert b"secret" not in answer


UNKNOWN = ("/draw/nothing", "/api/nothing", "/api/endpoints/nothing", "/worker_login/x", "/stream_progress/x")


def test_unknown_paths_and_methods_are_refused_as_the_original_does(aime: ServedApp) -> None:
    for path in UNKNOWN:
        response = requests.get(aime.url(path), timeout=60)
        assert response.status_code == 404, path
        assert response.json() == {"description": "Not Found", "status": 404, "message": response.json()["message"]}
    for method, path, allowed in (
        ("DELETE", "/draw", {"GET", "POST", "OPTIONS"}), ("PUT", "/draw/progress", {"GET", "POST", "OPTIONS"}),
        ("GET", "/worker_login", {"POST", "OPTIONS"}), ("PUT", "/api/endpoints", {"GET", "HEAD", "POST", "OPTIONS"}),
    ):  # fmt: skip
        response = requests.request(method, aime.url(path), timeout=60)
        assert (response.status_code, response.json()["description"]) == (405, "Method Not Allowed"), path
        assert set(response.headers["Allow"].split(", ")) == allowed, path
    # Other paths keep the form of errors of this server.
    assert requests.get(aime.url("/v1/nothing"), timeout=60).json()["error"]["code"] == "unknown_route"


def test_an_endpoint_whose_file_has_an_error_says_so(aime: ServedApp) -> None:
    assert requests.get(aime.url("/api/endpoints"), timeout=60).json() == {"endpoints": ["draw"]}
    for path in ("/broken", "/broken/progress"):
        response = requests.post(aime.url(path), json={}, timeout=60)
        assert (response.status_code, "its file has an error" in response.json()["message"]) == (404, True)
        assert "job_type" not in response.text  # paths and keys are in the log only


def test_a_default_does_not_replace_what_is_required(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    assert client.send(prompt="a").json()["error"] == ["note: is required"]
    assert requests.get(aime.url("/draw?prompt=a&note="), timeout=60).json()["error"] == ["note: is required"]
    described = requests.get(aime.url("/openapi.json"), timeout=60).json()["paths"]["/draw"]["post"]
    assert described["requestBody"]["content"]["application/json"]["schema"]["required"] == ["prompt", "note"]
    job_id = client.submit(prompt="a", note="", chat_context="")
    asked = {"auth": "w", "job_type": "draw", "auth_key": "worker-secret", "version": "1"}
    (data,) = requests.post(aime.url("/worker_job_request"), json=asked, timeout=60).json()["job_data"]
    assert (data["note"], "chat_context" in data) == ("", False)
    assert client.poll(job_id).status_code == 200


def test_the_log_and_the_pages_show_no_keys(aime: ServedApp, caplog: pytest.LogCaptureFixture) -> None:
    found = json.dumps(requests.get(aime.url("/api/endpoints/draw"), timeout=60).json())
    assert "worker-secret" not in found + caplog.text
