"""Odd bodies, queries and headers for every operation of the OpenAPI document, whatever its protocol.

No request is answered 5xx, nothing is logged with a traceback, every response has the documented shape of its
protocol, and a valid request still works. ``FUZZ_EXAMPLES=5000`` tries more than continuous integration does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from tests.support import documented
from tests.support.fuzzed_app import Errors, FuzzedApp, fuzzed_app, settle
from tests.support.odd_values import TEXTS, bodies, encoded, profile

#: AUTOMATIC1111's API answers 500 to images and checkpoints that are wrong.
ANSWERS_500 = re.compile(r"/sdapi/v1/(txt2img|img2img|options|png-info|extra-.*)")
#: Values of parameters in paths, one of which exists.
IN_PATHS = {
    "job_id": "known", "task_id": "known", "name": "tiny-image", "service": "shop", "file_name": "known.jpg",
    "file_path": "known.png", "model": "tiny-image", "owner": "anybody", "version_id": "tiny-image", "slot": "gpu0",
    "prediction_id": "known", "file_id": "known", "video_id": "known",
}  # fmt: skip


class Target:
    """A running app, and its operations."""

    def __init__(self, app: FuzzedApp, errors: Errors) -> None:
        self.app, self._errors = app, errors
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {app.admin}"
        self.document = self.session.get(app.url("/openapi.json"), timeout=90).json()
        self.with_body: list[tuple[str, str, str]] = []
        self.without_body: list[tuple[str, str]] = []
        for path, item in self.document["paths"].items():
            for method in item.keys() - {"parameters"}:
                content = item[method].get("requestBody", {}).get("content", {})
                self.with_body += [(method, path, media_type) for media_type in content]
                if not content and path != "/v1/admin/keys/{service}":
                    self.without_body.append((method, path))
        self.with_body.sort()
        self.without_body.sort()
        self.submit("known")

    def submit(self, job_id: str | None = None) -> requests.Response:
        """Submit a valid job."""
        fields = {"model": "tiny-image", "prompt": "a red circle", **({"id": job_id} if job_id else {})}
        return self.session.post(self.app.url("/v1/jobs"), json=fields, timeout=90)

    def operation(self, method: str, path: str) -> dict[str, Any]:
        return dict(self.document["paths"][path][method])

    def body(self, method: str, path: str, media_type: str) -> tuple[dict[str, Any], list[str]]:
        """The example of a request body, and the names of its fields."""
        content = self.operation(method, path)["requestBody"]["content"][media_type]
        schema = content["schema"]
        if "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return dict(content.get("example", {})), list(schema.get("properties", {}))

    def call(self, method: str, path: str, **options: Any) -> None:
        """Send a request, and check its response."""
        url = self.app.url(re.sub(r"\{(\w+)\}", lambda match: IN_PATHS[match[1]], path))
        response = self.session.request(method, url, timeout=60, **options)
        assert response.status_code < 500 or ANSWERS_500.fullmatch(path), response.text[:500]
        assert "the server's log has the details" not in response.text
        assert self._errors.take() == []
        assert documented.take_misfits() == []


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with fuzzed_app(with_keys=True) as (app, errors):
        one = Target(app, errors)
        yield one
        one.session.close()


@pytest.fixture(autouse=True)
def _a_valid_request_still_works(target: Target) -> Iterator[None]:
    yield
    response = target.submit()
    assert response.status_code == 201, response.text
    done = target.session.get(target.app.url(f"/v1/jobs/{response.json()['id']}?wait=30"), timeout=60)
    assert done.status_code == 200
    settle(target.app)


@profile(300)
@given(data=st.data())
def test_odd_bodies(target: Target, data: st.DataObject) -> None:
    method, path, media_type = data.draw(st.sampled_from(target.with_body))
    example, names = target.body(method, path, media_type)
    if media_type == "application/json":
        body = encoded(data.draw(bodies(example, names)))
        target.call(method, path, data=body, headers={"Content-Type": media_type})
        return
    odd = data.draw(st.dictionaries(st.sampled_from([*names, "unknown"]), TEXTS, max_size=4))
    texts = {name: str(value).encode("utf-8", "surrogatepass") for name, value in {**example, **odd}.items()}
    if media_type == "multipart/form-data":
        named = data.draw(st.sampled_from([None, "a.png", "../a"]))
        target.call(method, path, files={name: (named, text) for name, text in texts.items()})
    else:
        target.call(method, path, data=texts)


@profile(150)
@given(data=st.data())
def test_odd_queries_and_headers(target: Target, data: st.DataObject) -> None:
    method, path = data.draw(st.sampled_from(target.without_body))
    parameters = target.operation(method, path).get("parameters", [])
    texts = {name: data.draw(TEXTS) for name in (one["name"] for one in parameters if one["in"] == "query")}
    headers = {
        one["name"]: data.draw(st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30)).strip()
        for one in parameters
        if one["in"] == "header"
    }
    query = {name: text.encode("utf-8", "surrogatepass") for name, text in texts.items()}
    target.call(method, path, params=query, headers={name: text.encode("latin-1") for name, text in headers.items()})


def test_a_part_of_a_form_without_a_name(target: Target) -> None:
    body = b"--cut\r\nContent-Disposition: form-data\r\n\r\nx\r\n--cut--\r\n"
    for path in ("/v1/jobs", "/v1/tasks/", "/v1/tasks/image", "/sdapi/v1/options"):
        target.call("post", path, data=body, headers={"Content-Type": "multipart/form-data; boundary=cut"})


@profile(20)
@given(fields=st.fixed_dictionaries({"service": TEXTS, "role": st.sampled_from(["client", "worker", "admin"])}))
def test_keys_are_made_and_revoked(target: Target, fields: dict[str, Any]) -> None:
    url = target.app.url("/v1/admin/keys")
    made = target.session.post(url, data=encoded(fields), timeout=90)
    assert made.status_code in (200, 400, 409, 422), made.text
    target.call("get", "/v1/admin/keys")
    if made.status_code == 200:
        service = made.json()["service"]
        assert target.session.delete(f"{url}/{service}", timeout=90).status_code == 200
        assert target.session.delete(f"{url}/{service}", timeout=90).status_code == 404
