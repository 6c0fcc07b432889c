"""Bad input gets a clear 4xx that names field and rule, and nothing is queued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.harness import Stack


@pytest.fixture(autouse=True)
def nothing_is_queued(stack: Stack) -> Iterator[None]:
    before = stack.queue()["submitted"]
    yield
    assert stack.queue()["submitted"] == before


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "nope"}, "model", "known: tiny-image, tiny-video"),
    ({"model": 5}, "model", "must be text"),
    ({"kind": "img2text"}, "kind", "must be one of text2img"),
    ({"model": "tiny-image", "kind": "text2video"}, "kind", "offers text2img, img2img"),
    ({"prompt": 1}, "prompt", "must be text"),
    ({"prompt": ["a"]}, "prompt", "must be text"),
    ({"prompt": "x" * 201}, "prompt", "between 0 and 200 characters"),
    ({"prompt": "a\0b"}, "prompt", "NUL"),
    ({"prompt": "\ud800"}, "prompt", "surrogates"),
    ({"negative_prompt": {"a": 1}}, "negative_prompt", "must be text"),
    ({"steps": 0}, "steps", "between 1 and 100000"),
    ({"steps": -3}, "steps", "between 1 and 100000"),
    ({"steps": "many"}, "steps", "whole number"),
    ({"steps": 2.5}, "steps", "whole number"),
    ({"steps": True}, "steps", "whole number"),
    ({"steps": 10**30}, "steps", "between 1 and 100000"),
    ({"seed": -1}, "seed", "must be between 0 and"),
    ({"seed": 2**63}, "seed", "must be between 0 and"),
    ({"guidance_scale": "NaN"}, "guidance_scale", "finite"),
    ({"guidance_scale": 1e9}, "guidance_scale", "between 0 and 50"),
    ({"width": 8}, "width", "between 16 and 128"),
    ({"height": 4096}, "height", "between 16 and 128"),
    ({"frames": 9}, "frames", "text2img has no frames"),
    ({"fps": 9}, "fps", "text2img has no fps"),
    ({"strength": 0.5}, "strength", "text2img has no strength"),
    ({"kind": "img2img", "image": "aGk=", "strength": 0}, "strength", "at least 1"),
    ({"kind": "img2img"}, "image", "needs an input image"),
    ({"kind": "text2img", "image": "aGk="}, "image", "takes no input image"),
    ({"model": "tiny-video", "frames": 1000}, "frames", "between 9 and 33"),
    ({"model": "tiny-video", "fps": 0}, "fps", "between 1 and 120"),
    ({"kind": "img2img", "image": "!!!"}, "image", ""),
    ({"kind": "img2img", "image": "aGVsbG8="}, "image", ""),
    ({"kind": "img2img", "image": "http://127.0.0.1:9/x.png"}, "image", ""),
    ({"kind": "img2img", "image": "file:///etc/passwd"}, "image", ""),
    ({"id": "../../etc"}, "id", "letters, digits"),
    ({"id": "running"}, "id", "reserved"),
    ({"id": "x" * 65}, "id", "1 to 64"),
    ({"slot": "gpu9"}, "slot", "gpu0"),
]


@pytest.mark.parametrize(("fields", "field", "rule"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_field(stack: Stack, fields: dict[str, Any], field: str, rule: str) -> None:
    response = requests.post(stack.url("/v1/jobs"), json={"model": "tiny-image", **fields}, timeout=10)
    body = response.json()
    assert response.status_code == 422, body
    assert body["error"]["code"] == "invalid_request"
    [problem] = body["error"]["fields"]
    assert problem["field"] == field
    assert rule in problem["rule"]
    assert body["detail"] == body["error"]["message"]


def test_every_problem_is_named_at_once(stack: Stack) -> None:
    response = stack.post(model="tiny-image", steps=0, width=1, seed=-1)
    assert {problem["field"] for problem in response.json()["error"]["fields"]} == {"steps", "width", "seed"}


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"', b"\xff\xfe", b"null", b'{"a":' * 5000])
def test_a_body_that_is_no_object(stack: Stack, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = requests.post(stack.url("/v1/jobs"), data=body, headers=headers, timeout=10)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "malformed_body"), response.text


def test_a_body_that_is_too_large(stack: Stack) -> None:
    with requests.Session() as session:
        request = requests.Request("POST", stack.url("/v1/jobs"), data=b"x").prepare()
        request.headers["Content-Length"] = str(stack.settings.web.max_request_bytes + 1)
        response = session.send(request, timeout=10)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/jobs/x/y/z", "/v1//jobs", "/%00", "/v1/nothing/"])
def test_an_unknown_route_is_json(stack: Stack, path: str) -> None:
    response = stack.get(path)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_route")


@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/jobs"), ("POST", "/healthz"), ("DELETE", "/v1/models")])
def test_a_wrong_method_is_json(stack: Stack, method: str, path: str) -> None:
    response = requests.request(method, stack.url(path), timeout=10)
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert response.headers["Allow"]


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("POST", "/cancel"), ("GET", "/result"), ("DELETE", "")])
@pytest.mark.parametrize("job_id", ["000000000000000000000000", "no-such-job", "a b", "%2e%2e"])
def test_an_unknown_id(stack: Stack, method: str, path: str, job_id: str) -> None:
    response = requests.request(method, stack.url(f"/v1/jobs/{job_id}{path}"), timeout=10)
    assert (response.status_code, response.json()["error"]["code"]) == (404, "job_not_found")


@pytest.mark.parametrize(
    ("query", "field"), [("state=asleep", "state"), ("limit=0", "limit"), ("limit=x", "limit"), ("after=nope", "after")]
)
def test_a_wrong_list_query(stack: Stack, query: str, field: str) -> None:
    response = stack.get(f"/v1/jobs?{query}")
    assert response.status_code == 422
    assert response.json()["error"]["fields"][0]["field"] == field


def test_an_absurd_size_is_refused_at_once(stack: Stack) -> None:
    fields = stack.post(model="tiny-video", width=10**18, height=-(10**18), frames=10**18).json()["error"]["fields"]
    assert {problem["field"] for problem in fields} == {"width", "height", "frames"}
