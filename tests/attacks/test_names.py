"""Callers of the same name who were authenticated by different parts of the server are different callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from app import create_app
from app.access import auth
from jobs.callers import ENDPOINT_FILES, UNCHECKED, Caller, Role, identity_of
from jobs.errors import BadSetting, InvalidRequest
from jobs.outbound.webhook import Webhook
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.outgoing.webhook_outbox import WebhookOutbox
from tests.support.aime_endpoint import write_endpoint
from tests.support.aime_peers import Client
from tests.support.api import wait_for
from tests.support.devoid_client import Client as Socket
from tests.support.devoid_client import request
from tests.support.served_app import ServedApp
from tests.support.tiny import BASE

USER_KEY = "key-of-the-user-anna"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints, timeout_s="1")
    write_endpoint(endpoints, "keyed", clients=f'authorization_keys = {{ anna = "{USER_KEY}" }}', timeout_s="1")
    return serve(BASE, ENDPOINTS_DIR=endpoints, WEBHOOK_ALLOW="127.0.0.1")


@pytest.fixture
def mill(made: ServedApp) -> Iterator[ServedApp]:
    made.store.client.flushall()
    auth.keys_changed()
    yield made
    made.store.client.flushall()
    auth.keys_changed()


def key(mill: ServedApp, name: str, **fields: Any) -> dict[str, str]:
    """Return the header with a new key of the server."""
    ring = KeyRing(mill.store)
    if ring.is_empty():
        ring.create(Caller(key_id="ops", role=Role.ADMIN))
    secret = ring.create(Caller(key_id=name, **fields))
    auth.keys_changed()
    return {"Authorization": f"Bearer {secret}"}


def submit(mill: ServedApp, headers: dict[str, str]) -> str:
    body = {"model": "tiny-image", "prompt": "x"}
    response = requests.post(mill.url("/v1/jobs"), json=body, headers=headers, timeout=60)
    assert response.status_code == 201, response.text
    return str(response.json()["id"])


def listed(mill: ServedApp, headers: dict[str, str]) -> list[str]:
    return [job["id"] for job in mill.get("/v1/jobs", headers=headers).json()["jobs"]]


def refusals(mill: ServedApp, job_id: str, headers: dict[str, str]) -> set[int]:
    """Return the status of each route of a job that the caller must not see."""
    calls = [("GET", f"/v1/jobs/{job_id}{part}") for part in ("", "/events", "/preview", "/result", "/webhooks")]
    calls += [("POST", f"/v1/jobs/{job_id}{part}") for part in ("/cancel", "/retry", "/webhooks/resend")]
    calls += [("GET", f"/v1/tasks/{job_id}/status"), ("GET", f"/v1/tasks/{job_id}/result"),
              ("DELETE", f"/v1/tasks/{job_id}"), ("DELETE", f"/v1/jobs/{job_id}"),
              ("GET", f"/v1/files/download/{job_id}.png")]  # fmt: skip
    return {requests.request(method, mill.url(path), headers=headers, timeout=60).status_code for method, path in calls}


def test_a_key_and_a_user_of_an_endpoint_do_not_see_each_other(mill: ServedApp) -> None:
    anna, user = key(mill, "anna"), Client(mill.url(""), "keyed", key=USER_KEY)
    of_key, of_user = submit(mill, anna), user.submit(prompt="a")
    assert listed(mill, anna) == [of_key]
    assert refusals(mill, of_user, anna) == {404}
    assert list(mill.get("/v1/tasks/", headers=anna).json()) == [of_key]
    stop_all = requests.post(mill.url("/v1/jobs/cancel"), json={"waiting": True}, headers=anna, timeout=60)
    assert stop_all.json()["cancelled"] == [of_key]
    requests.delete(mill.url("/v1/tasks/all/running"), headers=anna, timeout=60)
    assert user.poll(of_user).json()["job_state"] == "queued"
    # The opposite direction: a job that the key has submitted to an endpoint.
    secret = anna["Authorization"].removeprefix("Bearer ")
    job = Client(mill.url(""), "draw", key=secret).submit(prompt="a")
    for endpoint in ("draw", "keyed"):
        response = Client(mill.url(""), endpoint, key=USER_KEY).poll(job)
        assert response.status_code == 402
    session = Client(mill.url(""), "keyed", key=USER_KEY)
    session.login()
    session.key = None
    assert session.poll(of_user).json()["job_state"] == "queued"
    assert Client(mill.url(""), "draw", session=session.session).poll(job).status_code == 402


def test_events_of_one_do_not_reach_the_other(mill: ServedApp) -> None:
    anna, user = key(mill, "anna"), Client(mill.url(""), "keyed", key=USER_KEY)
    user.submit(prompt="a")
    with requests.get(mill.url("/v1/events"), headers=anna, stream=True, timeout=90) as stream:
        lines = stream.iter_lines(chunk_size=1)
        since = next(lines).removeprefix(b"id: ").decode()
        of_user, of_key = user.submit(prompt="a"), submit(mill, anna)
        assert of_key.encode() in data_of(lines)
    with requests.get(
        mill.url("/v1/events"), headers={**anna, "Last-Event-ID": since}, stream=True, timeout=90
    ) as stream:
        assert of_key.encode() in data_of(stream.iter_lines(chunk_size=1))
    assert mill.store.get(of_user).key_id != mill.store.get(of_key).key_id


def data_of(lines: Iterator[bytes]) -> bytes:
    """Return the data of the next event."""
    return next(line for line in lines if line.startswith(b"data:"))


def test_limits_webhooks_and_options_of_the_key_are_its_own(mill: ServedApp) -> None:
    anna = key(mill, "anna", max_running=1, max_waiting=1, max_per_minute=1)
    WebhookOutbox(mill.store).configure("anna", Webhook("http://127.0.0.1:9/hook", ("job.cancelled",)), renew=True)
    user = Client(mill.url(""), "keyed", key=USER_KEY)
    submitted = [user.submit(prompt="a") for _ in range(3)]
    of_key = submit(mill, anna)  # its own limits are not affected
    records = [mill.store.get(job_id) for job_id in submitted]
    assert {job.key_id for job in records} == {identity_of(ENDPOINT_FILES, "anna")}
    assert [job.webhook for job in records] == [None] * 3
    assert mill.store.get(of_key).webhook is not None


def test_jobs_that_a_key_submitted_earlier_stay_its_own(mill: ServedApp) -> None:
    anna = key(mill, "anna")
    job_id = submit(mill, anna)
    assert mill.store.client.hget(f"framemill:job:{job_id}", "key") == "anna"  # as all versions have stored it
    assert mill.get(f"/v1/jobs/{job_id}", headers=anna).status_code == 200


def test_a_service_that_nobody_checked_is_not_the_key_of_its_name(mill: ServedApp) -> None:
    socket = Socket(mill, key=None)
    socket.send(request({"prompt": "x", "steps": 3, "width": 32, "height": 32}))
    queued = socket.next()
    assert (queued["gen_status"], queued["service"]) == ("queued", "telegram")
    job_id = queued["object_id"]
    assert mill.store.get(job_id).key_id == identity_of(UNCHECKED, "telegram")
    socket.close()
    wait_for(lambda: socket.messages.get(timeout=10) is None, "the socket to close")
    mill.cancel(job_id)  # leaves a message that nobody has received
    telegram = key(mill, "telegram")
    assert listed(mill, telegram) == []
    assert refusals(mill, job_id, telegram) == {404}
    later = Socket(mill, key=telegram["Authorization"].removeprefix("Bearer "))
    assert later.is_silent()
    later.close()


def test_a_worker_cannot_take_the_slot_of_another_keys_worker_of_its_name(mill: ServedApp) -> None:
    secret = key(mill, "gpu-host", role=Role.WORKER)["Authorization"].removeprefix("Bearer ")
    job_id = Client(mill.url(""), "keyed", key=USER_KEY).submit(prompt="a")

    def call(path: str, **fields: Any) -> dict[str, Any]:
        return dict(requests.post(mill.url(path), json=fields, timeout=90).json())

    first = {"auth": "host#1", "job_type": "draw", "auth_key": "worker-secret", "version": "0.9.12"}
    [data] = call("/worker_job_request", **first)["job_data"]
    assert mill.store.get(job_id).state == "running"
    for other in ({**first, "auth_key": secret}, {**first, "auth": "host#2"}):
        assert call("/worker_login", worker_parameters=other)["success"]
        assert call("/worker_job_request", **other, request_timeout=1)["cmd"] == "no_job"
        assert mill.store.get(job_id).state == "running"
    assert call("/worker_job_result", **first, job_id=data["job_id"], seed=7) == {"cmd": "ok"}
    assert mill.store.get(job_id).state == "succeeded"
    assert call("/worker_login", worker_parameters=first)["success"]


@pytest.mark.parametrize("name", ["aime.anna", "open.telegram", "a.b", "-", "a b", "ä", "a|b", "a:b", "", "a" * 65])
def test_no_key_can_have_the_name_of_another_kind_of_caller(name: str) -> None:
    with pytest.raises(InvalidRequest):
        Caller(key_id=name).check()


def test_a_name_has_one_key_in_the_settings(made: ServedApp) -> None:
    twice = made.settings.replace(api_keys="telegram:0123456789abcdef", services="telegram:a discord:b")
    with pytest.raises(BadSetting, match="both have a key for telegram"):
        create_app(twice)
