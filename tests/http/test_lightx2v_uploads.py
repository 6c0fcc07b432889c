"""``presigned_url``: an image that is uploaded to a link of its client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jobs.outbound.upload import TRIES, upload
from tests.support.pictures import PNG
from tests.support.receiver import Receiver, receiving
from tests.support.service import Service, later

SYNC = "/v1/tasks/image/sync"
LOCAL = frozenset({"127.0.0.1"})


@pytest.fixture
def bucket() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def uploading(services: Callable[..., Service]) -> Service:
    service = services(UPLOAD_ALLOW="127.0.0.1")
    service.open()
    return service


def create(service: Service, url: Any) -> Any:
    with later(service.finish):
        return service.post(SYNC, json={"prompt": "x", "presigned_url": url, "task_id": "mine"})


def test_an_image_is_uploaded_and_the_response_says_so(uploading: Service, bucket: Receiver) -> None:
    link = bucket.url + "?X-Amz-Signature=a%2Fb&X-Amz-Expires=60"
    response = create(uploading, link)
    assert (response.status_code, response.get_json()) == (200, {
        "task_id": "mine", "task_status": "completed", "uploaded_to_presigned_url": True, "presigned_url": link,
        "warnings": [],
    })  # fmt: skip
    assert response.headers["X-Task-Id"] == "mine"
    (message,) = bucket.messages
    assert (message.method, message.path, message.body) == ("PUT", "/hook?X-Amz-Signature=a%2Fb&X-Amz-Expires=60", PNG)
    assert message.headers["content-type"] == "image/png"
    # The link is a secret, so nothing else shows it.
    for path in ("/v1/tasks/", "/v1/tasks/mine/status", "/v1/jobs/mine"):
        assert "Signature" not in uploading.get(path).text, path


def test_a_bucket_that_refuses_the_image_is_502_and_the_image_stays(uploading: Service, bucket: Receiver) -> None:
    bucket.answers = [403]
    response = create(uploading, bucket.url)
    assert (response.status_code, response.get_json()["error"]["code"]) == (502, "upload_failed")
    assert "it answers 403" in response.get_json()["detail"]
    assert (len(bucket.messages), uploading.get("/v1/tasks/mine/result").data) == (1, PNG)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://127.0.0.2/put", "public addresses only"),
        ("http://169.254.169.254/put", "public addresses only"),
        ("file:///etc/passwd", "http:// or https://"),
        ("http://user:secret@127.0.0.1/put", "without user name or password"),
        (["http://127.0.0.1/put"], "text"),
    ],
)
def test_a_link_that_leads_elsewhere_is_refused_before_anything_is_queued(
    uploading: Service, url: Any, rule: str
) -> None:
    response = uploading.post(SYNC, json={"prompt": "x", "presigned_url": url, "infer_steps": 0})
    problems = {problem["field"]: problem for problem in response.get_json()["error"]["fields"]}
    assert (response.status_code, set(problems)) == (422, {"presigned_url", "infer_steps"})
    assert rule in problems["presigned_url"]["rule"]
    assert "secret" not in response.text
    assert uploading.json("/v1/jobs?limit=1")["total"] == 0


@pytest.mark.parametrize("path", ["/v1/tasks/image/", "/v1/tasks/video/", "/v1/tasks/"])
def test_routes_that_do_not_wait_refuse_it_and_take_an_empty_one(uploading: Service, path: str) -> None:
    refused = uploading.post(path, json={"prompt": "x", "presigned_url": "http://127.0.0.1/put"})
    assert (refused.status_code, "image/sync only" in refused.text) == (422, True)
    assert uploading.post(path, json={"prompt": "x", "presigned_url": ""}).status_code == 200


@pytest.mark.parametrize(
    ("answers", "status", "calls"),
    [([500, 503, 200], 200, 3), ([500] * 4, 500, TRIES), ([204], 204, 1), ([302], 302, 1), ([404, 200], 404, 1)],
)
def test_an_upload_is_tried_again_after_an_error_of_the_server(
    bucket: Receiver, answers: list[int], status: int, calls: int
) -> None:
    bucket.answers = list(answers)
    pauses: list[float] = []
    result = upload(bucket.url, b"x", "image/png", timeout_s=60, allow_hosts=LOCAL, pause=pauses.append)
    assert (result.status, len(bucket.messages)) == (status, calls)
    assert pauses == [1.0, 2.0][: calls - 1]


def test_an_upload_that_nobody_takes_ends_in_time(bucket: Receiver) -> None:
    bucket.answers = [bucket.hang]
    result = upload(bucket.url, b"x", "image/png", timeout_s=0.3, allow_hosts=LOCAL)
    assert (result.accepted, result.status) == (False, None)
    assert "no answer within" in result.error
