"""The page /docs: complete without the network, and rendered by a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask, jsonify
from werkzeug.serving import make_server

from app.docs_page import FILES, register_docs

PROPERTIES = {"prompt": {"type": "string", "example": "a red fox"}}
SPEC = {
    "openapi": "3.1.0",
    "info": {"title": "A small API", "version": "1"},
    "paths": {
        "/v1/jobs": {
            "post": {
                "operationId": "submit",
                "summary": "Send a job",
                "requestBody": {
                    "content": {"application/json": {"schema": {"type": "object", "properties": PROPERTIES}}}
                },
                "responses": {"202": {"description": "It was accepted"}},
            },
            "get": {"summary": "List the jobs", "responses": {"200": {"description": "The jobs"}}},
        }
    },
}


@pytest.fixture
def app() -> Flask:
    app = Flask("docs-test")
    register_docs(app)
    app.get("/openapi.json")(lambda: jsonify(SPEC))
    return app


def test_the_page_loads_own_files_only(app: Flask) -> None:
    client = app.test_client()
    for path in ("/docs", "/docs/"):
        page = client.get(path)
        assert page.status_code == 200
        assert page.mimetype == "text/html"
        links = re.findall(r'(?:src|href|data-spec)="([^"]*)"', page.text)
        assert len(links) == 6
        for link in links:
            with client.get(link) as answer:
                assert (link, answer.status_code) == (link, 200)
        assert not re.search(r"<script(?! src=)|<style|\son\w+=|\sstyle=|//", page.text)


def test_every_answer_has_the_policy(app: Flask) -> None:
    client = app.test_client()
    for path in ("/docs", "/docs/static/start.js", *(f"/docs/static/{name}" for name in FILES)):
        with client.get(path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'self';")
            assert not re.search("unsafe|http|//", policy)
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_media_types_and_caching(app: Flask) -> None:
    client = app.test_client()
    for name, media_type in zip(FILES, ("text/css", "text/javascript", "image/png"), strict=True):
        with client.get(f"/docs/static/{name}") as answer:
            assert answer.mimetype == media_type
            etag = answer.headers["ETag"]
        with client.get(f"/docs/static/{name}", headers={"If-None-Match": etag}) as answer:
            assert answer.status_code == 304


@pytest.mark.parametrize("name", ["", "LICENSE", "../__init__.py", "..%2f__init__.py", "%2fetc%2fpasswd", "nothing.js"])
def test_serves_no_other_file(app: Flask, name: str) -> None:
    assert app.test_client().get(f"/docs/static/{name}").status_code == 404


def test_keeps_the_prefix_of_a_proxy(app: Flask) -> None:
    page = app.test_client().get("/docs", environ_overrides={"SCRIPT_NAME": '/framemill"><b>'}).text
    assert 'data-spec="/framemill&#34;&gt;&lt;b&gt;/openapi.json"' in page
    assert "<b>" not in page


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.docs_page.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="flask-swagger-ui"):
        register_docs(Flask("docs-test"))


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_browser_renders_the_operations(address: str, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        assert not os.environ.get("CI"), "CI needs chromium on PATH"
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    net_log, picture = tmp_path / "net.json", tmp_path / "docs.png"
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
         # Tests must not reach the browser's own services (updates, accounts) either.
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
         f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=10000", "--window-size=1200,1400",
         "--enable-logging=stderr", f"--log-net-log={net_log}", f"--screenshot={picture}", "--dump-dom",
         f"{address}/docs#/default/submit"],
        check=False, capture_output=True, text=True, timeout=90,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for text in ("A small API", "Send a job", "List the jobs", "It was accepted", "a red fox", "OAS 3.1"):
        assert text in done.stdout
    # Errors of scripts, and everything that the policy refused.
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line] == []
    # Requests that the page made; those of the browser's own services have no origin.
    events = [event.get("params", {}) for event in json.loads(net_log.read_text())["events"]]
    asked = {params["url"] for params in events if "url" in params and params.get("initiator") == address}
    assert asked == {f"{address}{path}" for path in ("/openapi.json", "/docs/static/start.js")} | {
        f"{address}/docs/static/{name}" for name in FILES
    }
    assert picture.stat().st_size > 20_000  # an empty page has 5 KB
