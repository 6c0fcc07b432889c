"""The OpenAPI document: complete, consistent, and true. All tests of this folder compare responses with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema_rs
import pytest
import requests
from flask import Flask, jsonify

from tests.support import documented
from tests.support.fuzzed_app import FuzzedApp, fuzzed_app, settle
from tests.support.service import Service, first_key

METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def app() -> Iterator[FuzzedApp]:
    with fuzzed_app(with_keys=False) as (app, _):
        yield app


@pytest.fixture(scope="module")
def document(app: FuzzedApp) -> dict[str, Any]:
    return dict(app.get("/openapi.json").json())


#: Deleted, unchanged, and elsewhere.
WITHOUT_BODY = ("204", "304", "307")


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def test_every_operation_is_described_completely(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, operation in operations(document):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert set(operation["tags"]) <= tags, where
        assert all(
            scheme in document["components"]["securitySchemes"] for one in operation["security"] for scheme in one
        )
        for status, response in operation["responses"].items():
            assert response["description"], where
            has_body = status not in WITHOUT_BODY and (path, status) != ("/mcp", "202")  # accepted notifications
            assert ("content" in response) == has_body, f"{where}: {status}"
        for media_type, body in operation.get("requestBody", {"content": {}})["content"].items():
            assert body["schema"], f"{where}: {media_type}"


def test_ids_are_names_and_unique(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-zA-Z]\w*", name) for name in ids)
    # Generated clients have methods of these names.
    assert {"submit_job", "get_job", "lightx2v_create_task", "a1111_txt2img", "aime_draw_post", "healthz"} <= set(ids)


def test_schemas_are_valid_and_without_free_ends(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
        if name.endswith("Answer") and "properties" in schema:
            assert "additionalProperties" in schema, name
    links = re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document))
    assert set(links) <= set(schemas)


def test_every_route_is_described_or_a_page(app: FuzzedApp, document: dict[str, Any]) -> None:
    for rule in app.app.url_map.iter_rules():
        if documented.PAGES.fullmatch(rule.rule):
            continue
        paths = [documented.path_of(rule.rule, {"name": name}) for name in ("draw", "tiny")]
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert all(method.lower() in document["paths"].get(path, {}) for path in paths), f"{method} {rule.rule}"


def test_other_methods_are_refused_with_those_that_are_allowed(app: FuzzedApp, document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        url = app.url(re.sub(r"\{\w+\}", "x", path))
        described = {method.upper() for method in item if method in METHODS}
        options = requests.options(url, timeout=60)
        allowed = set(options.headers["Allow"].split(", "))
        assert allowed - {"HEAD", "OPTIONS"} == described, path
        for method in ("PATCH", "TRACE", *({"GET", "POST", "PUT", "DELETE", "HEAD"} - allowed)):
            refused = requests.request(method, url, timeout=60)
            assert refused.status_code == 405, f"{method} {path}"
            assert set(refused.headers["Allow"].split(", ")) == allowed, f"{method} {path}"


def test_a_get_that_changes_something_has_no_head(app: FuzzedApp) -> None:
    for path in ("/v1/local/video/generate/stop_running_task", "/draw", "/draw/cancel"):
        refused = requests.head(app.url(path), timeout=60)
        assert (refused.status_code, "HEAD" in refused.headers["Allow"]) == (405, False), path
    assert requests.head(app.url("/v1/fleet"), timeout=60).status_code == 200


#: Operations whose example names something that does not exist here, or that this server never does.
NOT_ACCEPTED = {"/v1/admin/keys", "/v1/admin/keys/{service}/webhook", "/sdapi/v1/interrogate",
                "/v1/jobs/{job_id}/webhooks/resend", "/v1/jobs/{job_id}/repeat", "/hf/{model}",
                "/v1/videos/{video_id}/remix", "/v1/predictions", "/v1/files", "/controlnet/detect"}  # fmt: skip


def test_every_example_is_accepted(app: FuzzedApp, document: dict[str, Any]) -> None:
    tried = 0
    for path, method, operation in operations(document):
        for media_type, body in operation.get("requestBody", {"content": {}})["content"].items():
            if "example" not in body or path in NOT_ACCEPTED or path.startswith("/v1/models"):
                continue
            sent = {"json": body["example"]} if media_type == "application/json" else _form(media_type, body["example"])
            if path.endswith("/form") and "image" not in path:
                sent["files"]["image_file"] = ("a.png", _png(document))
            response = requests.request(method, app.url(path), timeout=60, **sent)
            assert response.status_code in (200, 201), f"{method} {path}: {response.text[:300]}"
            tried += 1
    assert tried > 20
    settle(app)


def _form(media_type: str, example: dict[str, Any]) -> dict[str, Any]:
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in example.items()}
    if media_type == "multipart/form-data":
        return {"files": {name: (None, text) for name, text in texts.items()}}
    return {"data": texts}


def _png(document: dict[str, Any]) -> bytes:
    import base64

    example = document["paths"]["/sdapi/v1/png-info"]["post"]["requestBody"]["content"]["application/json"]["example"]
    return base64.b64decode(example["image"])


def test_a_server_with_keys_requires_them_in_its_document(services: Callable[..., Service]) -> None:
    service = services()
    assert {} in service.json("/openapi.json")["paths"]["/v1/jobs"]["get"]["security"]
    first_key(service, "boss")
    assert service.json("/openapi.json")["paths"]["/v1/jobs"]["get"]["security"] == [{"bearer": []}]


def test_the_document_names_the_prefix_of_a_proxy(services: Callable[..., Service]) -> None:
    body = services().get("/openapi.json", environ_overrides={"SCRIPT_NAME": "/gpu"}).get_json()
    assert body["servers"] == [{"url": "/gpu"}]


@pytest.mark.parametrize(
    ("body", "misfit"),
    [({"status": "ok"}, ""), ({"status": "fine"}, "status"), ({}, "required"), ({"status": "ok", "more": 1}, "more")],
)
def test_a_response_that_does_not_fit_is_noticed(service: Service, body: dict[str, Any], misfit: str) -> None:
    small = Flask("small")
    small.get("/healthz")(lambda: jsonify(body))
    document = documented.document_of(service.app)
    with small.test_request_context("/healthz"):
        found = document.misfits(small.full_dispatch_request())
    assert bool(found) == bool(misfit)
    assert misfit in "".join(found)
