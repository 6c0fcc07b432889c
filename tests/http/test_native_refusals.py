"""Invalid input gets a clear 4xx that names field and rule, and nothing is queued."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.pictures import PNG
from tests.support.service import Service


@pytest.fixture(autouse=True)
def nothing_is_queued(service: Service) -> Iterator[None]:
    yield
    assert service.json("/v1/queue")["submitted"] == 0


IMAGE = base64.b64encode(PNG).decode()
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "nope"}, "model", "must be one of tiny-image, tiny-video"),
    ({"model": 5}, "model", "must be text"),
    ({"kind": "img2text"}, "kind", "must be one of text2img"),
    ({"model": "tiny-image", "kind": "text2video"}, "kind", "must be one of text2img, img2img"),
    ({"prompt": 1}, "prompt", "must be text"),
    ({"prompt": ["a"]}, "prompt", "must be text"),
    ({"prompt": "x" * 100_001}, "prompt", "at most 100000 characters"),
    ({"prompt": "a\0b"}, "prompt", "NUL"),
    ({"prompt": "\ud800"}, "prompt", "surrogates"),
    ({"negative_prompt": {"a": 1}}, "negative_prompt", "must be text"),
    ({"steps": 0}, "steps", "between 1 and 100000"),
    ({"steps": -3}, "steps", "between 1 and 100000"),
    ({"steps": "many"}, "steps", "whole number"),
    ({"steps": 2.5}, "steps", "whole number"),
    ({"steps": True}, "steps", "whole number"),
    ({"steps": 10**30}, "steps", "between 1 and 100000"),
    ({"seed": 2**63}, "seed", "must be between 0 and 9223372036854775807, or negative"),
    ({"seed": 1e19}, "seed", "must be between 0 and 9223372036854775807, or negative"),
    ({"guidance_scale": "NaN"}, "guidance_scale", "must be a number"),
    ({"guidance_scale": 1e9}, "guidance_scale", "between 0 and 50"),
    ({"width": 8}, "width", "between 16 and 128"),
    ({"height": 4096}, "height", "between 16 and 128"),
    ({"frames": 9}, "frames", "does not apply to text2img"),
    ({"fps": 9}, "fps", "does not apply to text2img"),
    ({"strength": 0.5}, "strength", "does not apply to text2img"),
    ({"kind": "img2img", "image": IMAGE, "strength": -0.1}, "strength", "between 0 and 1"),
    ({"kind": "img2img"}, "image", "needs an input image"),
    ({"kind": "text2img", "image": "aGk="}, "image", "is not an input of text2img"),
    ({"model": "tiny-video", "frames": 1000}, "frames", "between 9 and 33"),
    ({"model": "tiny-video", "fps": 0}, "fps", "between 1 and 120"),
    ({"kind": "img2img", "image": "!!!"}, "image", ""),
    ({"kind": "img2img", "image": "aGVsbG8="}, "image", ""),
    ({"kind": "img2img", "image": "http://127.0.0.1:9/x.png"}, "image", ""),
    ({"kind": "img2img", "image": "file:///etc/passwd"}, "image", ""),
    ({"not_before": "tomorrow"}, "not_before", "must be a time with its offset, such as 2026-01-31T18:00:00Z, or the"),
    ({"not_before": "2026-01-31T18:00:00"}, "not_before", "must be a time with its offset"),
    ({"not_before": True}, "not_before", "must be a time with its offset"),
    ({"not_before": 1e300}, "not_before", "must be between the years 1970 and 9999"),
    ({"not_before": -1}, "not_before", "must be between the years 1970 and 9999"),
    ({"not_before": "9998-01-31T18:00:00+02:00"}, "not_before", "must be at most 604800 seconds ahead"),
    ({"id": "../../etc"}, "id", "letters, digits"),
    ({"id": "running"}, "id", "reserved"),
    ({"id": "x" * 65}, "id", "1 to 64"),
    ({"slot": "gpu9"}, "slot", "gpu0"),
    ({"moderate": "perhaps"}, "moderate", "must be true or false"),
]


@pytest.mark.parametrize(("fields", "field", "rule"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_field(service: Service, fields: dict[str, Any], field: str, rule: str) -> None:
    response = service.post("/v1/jobs", json={"model": "tiny-image", "prompt": "x", **fields})
    body = response.get_json()
    assert response.status_code == 422, body
    assert body["error"]["code"] == "invalid_request"
    [problem] = body["error"]["fields"]
    assert problem["field"] == field
    assert rule in problem["rule"]
    assert body["detail"] == body["error"]["message"]


def test_every_problem_is_named_at_once(service: Service) -> None:
    fields = {"model": "tiny-image", "prompt": "x", "steps": 0, "width": 1, "seed": 2**63}
    response = service.post("/v1/jobs", json=fields)
    assert {problem["field"] for problem in response.get_json()["error"]["fields"]} == {"steps", "width", "seed"}


def test_problems_of_all_kinds_are_named_at_once(service: Service) -> None:
    fields = {"model": "tiny-image", "kind": "img2img", "prompt": "x", "steps": "many", "width": 8, "height": 4096,
              "image": "http://127.0.0.1:9/x.png", "id": "../../etc", "loras": [{"name": "ink"}, {"nam": "ink"}],
              "webhook_url": "ftp://x", "strenght": 0.5}  # fmt: skip
    problems = service.post("/v1/jobs", json=fields).get_json()["error"]["fields"]
    rules = {problem["field"]: problem["rule"] for problem in problems}
    assert rules.keys() >= {"steps", "width", "height", "image", "id", "loras[1].nam", "webhook_url", "strenght"}
    assert rules["loras[1].nam"] == "is unknown; did you mean name?"
    assert rules["strenght"] == "is unknown; did you mean strength?"
    task = {"infer_steps": "many", "image_path": "nothing here", "target_shape": [1, 9999], "aspect_ratio": "wide",
            "task_id": "../x", "audio_path": "a.wav", "save_result_path": "../../x", "lora_name": "ink"}  # fmt: skip
    problems = service.post("/v1/tasks/video/", json=task).get_json()["error"]["fields"]
    named = {problem["field"] for problem in problems}
    assert named == {
        "infer_steps", "image_path", "target_shape", "task_id", "audio_path", "save_result_path", "lora_name"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "meant"),
    [("promt", "prompt"), ("Prompt", "prompt"), ("negativePrompt", "negative_prompt"), ("seeds", "seed"),
     ("step", "steps"), ("widht", "width"), ("lora", "loras"), ("imag", "image"),
     ("num-images", "num_images"), ("guidence_scale", "guidance_scale"), ("output_fromat", "output_format")],
)  # fmt: skip
def test_a_misspelt_field_is_refused(service: Service, sent: str, meant: str) -> None:
    prompt = {} if meant == "prompt" else {"prompt": "x"}
    [problem] = service.post("/v1/jobs", json={**prompt, sent: "x"}).get_json()["error"]["fields"]
    assert (problem["field"], problem["rule"]) == (sent, f"is unknown; did you mean {meant}?")


def test_an_absurd_size_is_refused_at_once(service: Service) -> None:
    sizes = {"width": 10**18, "height": -(10**18), "frames": 10**18}
    response = service.post("/v1/jobs", json={"model": "tiny-video", "prompt": "x", **sizes})
    fields = response.get_json()["error"]["fields"]
    assert {problem["field"] for problem in fields} == {"width", "height", "frames"}


@pytest.mark.parametrize("body", [b"{", b"[1]", b'"text"', b"\xff\xfe", b"null", b'{"a":' * 5000])
def test_a_body_that_is_no_object(service: Service, body: bytes) -> None:
    response = service.post("/v1/jobs", data=body, content_type="application/json")
    assert (response.status_code, response.get_json()["error"]["code"]) == (400, "malformed_body"), response.text


def test_a_body_that_is_too_large(service: Service) -> None:
    length = str(service.settings.web.max_request_bytes + 1)
    response = service.post("/v1/jobs", data=b"x", environ_overrides={"CONTENT_LENGTH": length})
    assert (response.status_code, response.get_json()["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/jobs/x/y/z", "/v1//jobs", "/%00", "/v1/nothing/"])
def test_an_unknown_route_is_json(service: Service, path: str) -> None:
    response = service.get(path)
    assert (response.status_code, response.get_json()["error"]["code"]) == (404, "unknown_route")


@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/jobs"), ("POST", "/healthz"), ("DELETE", "/v1/models")])
def test_a_wrong_method_is_json(service: Service, method: str, path: str) -> None:
    response = service.client.open(path, method=method)
    assert (response.status_code, response.get_json()["error"]["code"]) == (405, "method_not_allowed")
    assert response.headers["Allow"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", "/cancel"), ("GET", "/result"), ("DELETE", ""), ("GET", "/events"),
                         ("GET", "/preview"), ("GET", "/webhooks"), ("POST", "/retry"), ("POST", "/front")]
)  # fmt: skip
@pytest.mark.parametrize("job_id", ["000000000000000000000000", "no-such-job", "a b", "%2e%2e"])
def test_an_unknown_id(service: Service, method: str, path: str, job_id: str) -> None:
    response = service.client.open(f"/v1/jobs/{job_id}{path}", method=method)
    assert (response.status_code, response.get_json()["error"]["code"]) == (404, "job_not_found")


@pytest.mark.parametrize(
    ("query", "field"), [("state=asleep", "state"), ("state=queued,", "state"), ("state=queued&state=x", "state"),
                         ("limit=0", "limit"), ("limit=x", "limit"), ("after=nope", "after"),
                         ("since=yesterday", "since"), ("until=2026-01-31T09:00:00", "until"),
                         ("text=" + "x" * 501, "text")]
)  # fmt: skip
def test_a_wrong_list_query(service: Service, query: str, field: str) -> None:
    response = service.get(f"/v1/jobs?{query}")
    assert response.status_code == 422
    assert response.get_json()["error"]["fields"][0]["field"] == field


@pytest.mark.parametrize("wait", ["-1", "soon", "nan", "inf"])
def test_a_wrong_wait_is_refused(service: Service, wait: str) -> None:
    response = service.post(f"/v1/jobs?wait={wait}", json={"model": "tiny-image"})
    assert (response.status_code, response.get_json()["error"]["fields"][0]["field"]) == (422, "wait")
