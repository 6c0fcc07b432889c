"""``CORS_ORIGINS`` on every route of the app: preflight requests, responses and errors, for allowed and other pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from flask import Flask
from werkzeug.test import TestResponse
from werkzeug.wrappers import Response

from app.access import auth
from tests.support import documented
from tests.support.aime_endpoint import write_endpoint
from tests.support.served_app import ServedApp
from tests.support.service import Service, first_key

FRIEND, FOREIGN = "https://pages.example.org", "https://evil.example"
#: What a page's program must be able to read of a response to follow, repeat and continue what it began.
NEEDED = {"Location", "Retry-After", "Mcp-Session-Id", "X-Request-Id", "Content-Range", "WWW-Authenticate"}
#: Values of the parts of a path, by their name.
VALUES = {"name": "tiny-image", "address": "published"}
#: The only route that pages of all origins may read: its address is a secret.
SECRET_ADDRESSES = "/img/<file_name>"


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("endpoints")
    write_endpoint(folder, timeout_s="1", pages="[JINJA]\n'/published' = { file = 'page.html' }")
    (folder / "draw" / "page.html").write_text("<p>published</p>")
    return folder


@pytest.fixture
def keyed(services: Callable[..., Service], endpoints: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Service]:
    """``keyed(CORS_ORIGINS=value)``: return a service with keys and all protocols."""
    monkeypatch.setattr("app.protocols.aime.workers.routes.ERROR_DELAY_S", 0)

    def make(**options: Any) -> Service:
        service = services(ENDPOINTS_DIR=endpoints, **options)
        service.client = service.app.test_client(use_cookies=False)
        service.open()
        first_key(service)
        return service

    return make


def calls(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Yield each route of the app: its rule, a path that it serves, and a method."""
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:([^:<>]+):)?([^<>]+)>", lambda match: _value(match[1], match[2]), rule.rule)
        for method in sorted((rule.methods or {"GET"}) - {"OPTIONS"}):
            yield rule.rule, path, method


def _value(converter: str | None, name: str) -> str:
    return {"endpoint": "draw", "int": "1"}.get(converter or "", VALUES.get(name, "x"))


def asked(service: Service, path: str, method: str, origin: str) -> TestResponse:
    """Return the response to the preflight request of a page."""
    headers = {"Origin": origin, "Access-Control-Request-Method": method,
               "Access-Control-Request-Headers": "authorization,content-type,x-anything"}  # fmt: skip
    return service.client.open(path, method="OPTIONS", headers=headers)


def allowances(response: Response) -> dict[str, str]:
    return {name: value for name, value in response.headers if name.startswith("Access-Control")}


def test_every_protocol_has_routes(keyed: Callable[..., Service]) -> None:
    paths = {path for _, path, _ in calls(keyed().app)}
    assert paths >= {
        "/v1/jobs", "/v1/tasks/", "/draw", "/sdapi/v1/txt2img", "/img/x", "/v1/images/generations", "/v1/predictions",
        "/hf/x", "/mcp", "/v1/files", "/v1/session", "/metrics", "/published",
    }  # fmt: skip


@pytest.mark.parametrize("setting", [FRIEND, f"https://other.example, {FRIEND.upper()}", "*"])
def test_an_allowed_page_may_ask_and_read_on_every_route(keyed: Callable[..., Service], setting: str) -> None:
    service = keyed(CORS_ORIGINS=setting)
    reader = "*" if setting == "*" else FRIEND
    for rule, path, method in calls(service.app):
        preflight = asked(service, path, method, FRIEND)
        where = f"{method} {rule}"
        # No key: browsers send none with this question.
        assert preflight.status_code == 204, where
        allowed = allowances(preflight)
        assert (allowed["Access-Control-Allow-Origin"], int(allowed["Access-Control-Max-Age"]) > 0) == (reader, True)
        assert method in allowed["Access-Control-Allow-Methods"].split(", "), where
        assert allowed["Access-Control-Allow-Headers"] == "authorization,content-type,x-anything", where
        with service.client.open(path, method=method, headers={"Origin": FRIEND}) as response:
            allowed = allowances(response)
            assert allowed["Access-Control-Allow-Origin"] == reader, (where, response.status_code)
            assert set(allowed["Access-Control-Expose-Headers"].split(", ")) >= NEEDED, where
            assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin", where
            assert ("Origin" in response.headers.get("Vary", "")) == (setting != "*"), where
            assert "Access-Control-Allow-Credentials" not in {**allowed, **allowances(preflight)}, where


@pytest.mark.parametrize(("setting", "origin"), [("", FRIEND), ("", "null"), (FRIEND, FOREIGN), (FRIEND, "null")])
def test_other_pages_may_not_on_any_route(keyed: Callable[..., Service], setting: str, origin: str) -> None:
    service = keyed(CORS_ORIGINS=setting)
    for rule, path, method in calls(service.app):
        if rule == SECRET_ADDRESSES:
            continue
        assert allowances(asked(service, path, method, origin)) == {}, f"{method} {rule}"
        with service.client.open(path, method=method, headers={"Origin": origin}) as response:
            assert allowances(response) == {}, f"{method} {rule}"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin", f"{method} {rule}"


def test_paths_without_a_route_are_no_exception(keyed: Callable[..., Service]) -> None:
    paths = (
        "/nothing",
        "/v1/nothing",
        "/draw/nothing",
        "/api/nothing",
        "/sdapi/v1/nothing",
        "/hf",
        "/v1/predictions/a/b/c",
    )
    service = keyed(CORS_ORIGINS=FRIEND)
    for path in paths:
        response = service.get(path, headers={"Origin": FRIEND})
        assert response.status_code in (404, 405), path
        assert allowances(response)["Access-Control-Allow-Origin"] == FRIEND, path
        assert allowances(service.get(path, headers={"Origin": FOREIGN})) == {}, path


#: A call of each protocol that has a body: its path, and a body that is refused with a status.
REFUSED = {
    "native": ("/v1/jobs", {"model": "nothing"}, 422), "LightX2V": ("/v1/tasks/", {}, 422),
    "AIME": ("/draw", {}, 400), "A1111": ("/sdapi/v1/txt2img", {"steps": -1}, 422),
    "OpenAI": ("/v1/images/generations", {}, 400), "Replicate": ("/v1/predictions", {}, 422),
    "HF": ("/hf/tiny-image", {}, 422), "MCP": ("/mcp", [], 400),
}  # fmt: skip


@pytest.mark.parametrize("protocol", REFUSED)
def test_every_error_can_be_read(keyed: Callable[..., Service], protocol: str) -> None:
    service = keyed(CORS_ORIGINS=FRIEND, MAX_REQUEST_BYTES=100_000)
    path, body, status = REFUSED[protocol]
    page = {"Origin": FRIEND}
    key = page | first_key(service, "more")
    large = b'{"prompt": "' + b"x" * 200_000 + b'"}'
    responses = {
        401: service.post(path, json={"prompt": "x", **(body if isinstance(body, dict) else {})}, headers=page),
        413: service.post(path, data=large, content_type="application/json", headers=key),
        status: service.post(path, json=body, headers=key),
        405: service.client.patch(path, headers=key),
    }
    if protocol == "AIME":
        responses.pop(401)  # its keyless endpoints let nobody in
    for expected, response in responses.items():
        assert response.status_code == expected, (response.status_code, response.text)
        assert allowances(response)["Access-Control-Allow-Origin"] == FRIEND, expected


@contextmanager
def failing(app: Flask) -> Iterator[None]:
    """Let every request of an app fail as a mistake in its code would make it."""

    def fail() -> NoReturn:
        raise RuntimeError("a mistake")

    functions = app.before_request_funcs.setdefault(None, [])
    functions.append(fail)
    try:
        yield
    finally:
        functions.remove(fail)


def test_failures_of_the_server_can_be_read_on_every_route(keyed: Callable[..., Service]) -> None:
    service = keyed(CORS_ORIGINS=FRIEND)
    with failing(service.app):
        for rule, path, method in calls(service.app):
            response = service.client.open(path, method=method, headers={"Origin": FRIEND})
            if response.status_code >= 500:
                assert allowances(response)["Access-Control-Allow-Origin"] == FRIEND, f"{method} {rule}"
        assert service.post("/v1/jobs", headers={"Origin": FRIEND}).status_code == 500
    documented.take_misfits()  # no route documents that it has a mistake


def test_responses_while_redis_is_away_can_be_read(serve: Callable[..., ServedApp], endpoints: Path) -> None:
    mill = serve(CORS_ORIGINS=FRIEND, API_KEYS="ops:" + "o" * 20, ENDPOINTS_DIR=endpoints, REDIS_TIMEOUT_S=0.5)
    client = mill.app.test_client()
    headers = {"Origin": FRIEND, "Authorization": "Bearer " + "o" * 20}
    mill.redis.stop()
    try:
        auth.keys_changed()
        for path in (
            "/v1/jobs",
            "/v1/tasks/",
            "/sdapi/v1/txt2img",
            "/v1/images/generations",
            "/v1/predictions",
            "/mcp",
        ):
            preflight = client.options(path, headers={"Origin": FRIEND, "Access-Control-Request-Method": "POST"})
            assert preflight.status_code == 204, path
            response = client.post(path, json={"model": "tiny-image", "prompt": "x", "input": {}}, headers=headers)
            assert response.status_code == 503, (path, response.text)
            assert response.headers["Access-Control-Allow-Origin"] == FRIEND, path
            assert "Retry-After" in response.headers["Access-Control-Expose-Headers"], path
    finally:
        mill.redis.start()
        auth.keys_changed()
