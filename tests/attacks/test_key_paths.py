"""A key that may call only some paths: it works there, under every prefix that serves them, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.callers import Caller
from tests.support.service import Service, key


@pytest.mark.parametrize(
    ("allowed", "path", "may_call"),
    [
        ("/v1/jobs", "/v1/jobs", True), ("/v1/jobs", "/v1/jobs/x", True), ("/v1/jobs/", "/v1/jobs", True),
        ("/v1/jobs", "/v1/jobs2", False), ("/v1/jobs", "/v1", False), ("/draw", "/drawing", False),
        ("/", "/anything", True),
    ],
)  # fmt: skip
def test_a_path_covers_itself_and_what_is_below(allowed: str, path: str, may_call: bool) -> None:
    assert Caller(key_id="x", endpoints=(allowed,)).may_call(path) is may_call


def test_a_key_for_a1111_gets_its_answers_there_only(services: Callable[..., Service]) -> None:
    service = services()
    admin = key(service, "boss", role="admin")
    mounted = key(service, "painter", admin=admin, endpoints=["/a1111"])
    plain = key(service, "other", admin=admin, endpoints=["/sdapi", "/internal"])
    for path in ("/sdapi/v1/options", "/sdapi/v1/sd-models", "/internal/pending-tasks"):
        assert service.get(f"/a1111{path}", headers=mounted).status_code == 200, path
        assert service.get(path, headers=mounted).status_code == 403, path
        assert service.get(path, headers=plain).status_code == 200, path
    for path in ("/v1/jobs", "/v1/tasks/", "/metrics", "/a1111/../v1/jobs"):
        assert service.get(path, headers=mounted).status_code in (403, 404), path


def test_a_path_without_a_slash_is_refused(services: Callable[..., Service]) -> None:
    service = services()
    admin = key(service, "boss", role="admin")
    refused = service.post("/v1/admin/keys", json={"service": "x", "endpoints": ["v1/jobs"]}, headers=admin)
    assert (refused.status_code, refused.get_json()["error"]["fields"][0]["field"]) == (422, "endpoints")
