"""A key asks for the jobs of another key, on every route, in every state of the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.callers import Caller, Role
from jobs.store.credentials.api_keys import KeyRing
from tests.support.service import Service

UNKNOWN = "0123456789abcdef01234567"
#: Lists and streams that show several jobs.
LISTS = ("/v1/jobs", "/v1/jobs?limit=100&state=queued", "/v1/queue", "/v1/fleet", "/v1/tasks/", "/v1/service/status",
         "/v1/tasks/queue/status", "/sdapi/v1/progress", "/internal/pending-tasks", "/metrics",
         "/v1/admin/dead")  # fmt: skip


@pytest.fixture
def keys(services: Callable[..., Service]) -> tuple[Service, dict[str, str], dict[str, str]]:
    """Return a service, and the headers of two keys."""
    service = services()
    ring = KeyRing(service.store)
    ring.create(Caller(key_id="ops", role=Role.ADMIN))
    owner, stranger = (ring.create(Caller(key_id=name)) for name in ("owner", "stranger"))
    service.open()
    return service, {"Authorization": f"Bearer {owner}"}, {"Authorization": f"Bearer {stranger}"}


def submitted(service: Service, headers: dict[str, str], state: str) -> str:
    body = {"model": "tiny-image", "prompt": "a secret prompt"}
    job_id = str(service.app.test_client().post("/v1/jobs", json=body, headers=headers).get_json()["id"])
    if state != "queued":
        service.start()
    if state == "succeeded":
        service.finish()
    return job_id


def calls(service: Service, job_id: str) -> list[tuple[str, str, Any]]:
    """Return every call that names a job: method, path, JSON body."""
    found: list[tuple[str, str, Any]] = []
    for rule in service.app.url_map.iter_rules():
        names = {"job_id": job_id, "task_id": job_id, "file_path": f"{job_id}.png"}
        if rule.arguments and rule.arguments <= names.keys():
            [name] = rule.arguments
            path = rule.rule.replace(f"<{name}>", names[name]).replace(f"<path:{name}>", names[name])
            assert job_id in path, path
            found += [(method, path, None) for method in sorted(rule.methods or ()) if method != "OPTIONS"]
    assert len(found) > 20
    found += [("POST", "/internal/progress", {"id_task": job_id}), ("POST", "/v1/jobs/cancel", {"ids": [job_id]}),
              ("POST", "/v1/jobs/cancel", {"waiting": True}), ("DELETE", "/v1/tasks/all/running", None),
              ("GET", "/v1/local/video/generate/stop_running_task", None),
              ("POST", "/sdapi/v1/interrupt", {})]  # fmt: skip
    return found


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_another_keys_job_is_answered_like_one_that_does_not_exist(
    keys: tuple[Service, dict[str, str], dict[str, str]], state: str
) -> None:
    service, owner, stranger = keys
    job_id = submitted(service, owner, state)
    client = service.app.test_client()
    for (method, path, body), (_, other_path, other_body) in zip(
        calls(service, job_id), calls(service, UNKNOWN), strict=True
    ):
        answer = client.open(path, method=method, json=body, headers=stranger)
        expected = client.open(other_path, method=method, json=other_body, headers=stranger)
        assert answer.status_code == expected.status_code, (method, path, answer.text)
        assert answer.text.replace(job_id, UNKNOWN) == expected.text, (method, path)
        assert answer.status_code < 500
    view = client.get(f"/v1/jobs/{job_id}", headers=owner).get_json()
    assert view["state"] == state
    assert client.get("/v1/jobs", headers=owner).get_json()["total"] == 1


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
def test_no_list_shows_another_keys_job(keys: tuple[Service, dict[str, str], dict[str, str]], state: str) -> None:
    service, owner, stranger = keys
    job_id = submitted(service, owner, state)
    client = service.app.test_client()
    for path in LISTS:
        answer = client.get(path, headers=stranger)
        assert answer.status_code < 500
        assert job_id not in answer.text, path
        assert "a secret prompt" not in answer.text, path
    assert job_id in client.get("/v1/jobs", headers=owner).text


def test_without_a_key_nothing_is_shown(keys: tuple[Service, dict[str, str], dict[str, str]]) -> None:
    service, owner, _ = keys
    job_id = submitted(service, owner, "running")
    client = service.app.test_client()
    wrong = {"Authorization": "Bearer " + "x" * 43}
    for method, path, body in calls(service, job_id):
        for headers in ({}, wrong):
            answer = client.open(path, method=method, json=body, headers=headers)
            assert answer.status_code in (401, 403), (method, path, answer.status_code)
    assert client.get(f"/v1/jobs/{job_id}", headers=owner).get_json()["state"] == "running"
