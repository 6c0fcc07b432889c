"""Workers of the AIME protocol: every response they may get, their death, late results, cancellation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.aime_endpoint import draw, write_endpoint
from tests.support.aime_peers import Client, Worker, picture
from tests.support.served_app import ServedApp


@pytest.fixture(scope="module")
def aime(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints, endpoint="job_inactivity_timeout = 4", timeout_s="1")
    write_endpoint(endpoints, "twin", outputs='error = { type = "string" }', timeout_s="1")
    return serve(ENDPOINTS_DIR=endpoints, HEARTBEAT_S=0.5, SLOT_LEASE_S=3)


def call(app: ServedApp, path: str, body: Any) -> tuple[int, Any]:
    response = requests.post(app.url(path), json=body, timeout=60)
    assert response.headers["Content-Type"] == "application/json"
    return response.status_code, response.json()


def wish(**more: Any) -> dict[str, Any]:
    about = {"auth": "by-hand", "job_type": "draw", "auth_key": "worker-secret", "version": "0.9.12"}
    return {**about, "request_timeout": 60, "max_job_batch": 1, **more}


def take(app: ServedApp, **more: Any) -> list[dict[str, Any]]:
    status, answer = call(app, "/worker_job_request", wish(**more))
    assert (status, answer["cmd"]) == (200, "job"), answer
    return list(answer["job_data"])


def give(app: ServedApp, data: dict[str, Any], **result: Any) -> Any:
    return call(app, "/worker_job_result", {**wish(), "job_id": data["job_id"], **result})


def test_the_status_is_told_in_both_ways(aime: ServedApp) -> None:
    asked = {"auth_key": "worker-secret", "job_type": "draw"}
    assert call(aime, "/worker_check_server_status", asked) == (
        200, {"cmd": "ok", "logged_in": True, "job_type_present": True, "key_valid": True},
    )  # fmt: skip
    wrong = call(aime, "/worker_check_server_status", {**asked, "auth_key": "x"})[1]
    assert (wrong["cmd"], wrong["key_valid"], wrong["job_type_present"]) == ("error", False, True)
    assert call(aime, "/worker_check_server_status", {**asked, "job_type": "x"})[1]["cmd"] == "warning"


def test_logging_in(aime: ServedApp) -> None:
    about = {"auth": "new", "job_type": "draw", "auth_key": "worker-secret", "interface_version": "1"}
    without = {key: value for key, value in wish(auth="new").items() if key != "version"}
    assert call(aime, "/worker_job_request", without)[1]["cmd"] == "error"
    ok = call(aime, "/worker_login", {"worker_parameters": about, "model_parameters": {"label": "m"}})[1]
    assert (ok["success"], ok["request_timeout"]) == (True, 1)
    assert call(aime, "/worker_job_request", without)[1]["cmd"] == "no_job"
    for change in ({"auth_key": "x"}, {"job_type": "x"}):
        refused = call(aime, "/worker_login", {"worker_parameters": {**about, **change}})
        assert (refused[0], refused[1]["success"]) == (200, False)


def test_calls_that_get_no_job(aime: ServedApp) -> None:
    begun = time.monotonic()
    status, answer = call(aime, "/worker_job_request", wish())
    assert (status, answer["cmd"]) == (200, "no_job")
    assert time.monotonic() - begun > 0.85  # nine tenths of the configured second
    assert call(aime, "/worker_job_request", wish(auth_key="x"))[1] == {
        "cmd": "error", "msg": "Worker not authorized!", "api_server_version": answer["api_server_version"],
    }  # fmt: skip
    unknown = call(aime, "/worker_job_request", wish(job_type="x"))
    assert (unknown[0], unknown[1]["cmd"], unknown[1]["msg"]) == (200, "warning", "No job queue for job_type: x")
    malformed = requests.post(aime.url("/worker_job_request"), data=b"{", timeout=60)
    assert (malformed.status_code, malformed.json()["cmd"]) == (400, "error")


def test_an_old_worker_serves(aime: ServedApp) -> None:
    with Worker(aime.url(""), old=True, name="old_worker", compute=draw) as worker:
        assert Client(aime.url(""), "draw").send(prompt="a").status_code == 200
    worker.join()
    assert not worker.ended


def test_what_waits_is_taken_as_a_batch(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    jobs = [client.submit(prompt=str(number)) for number in range(3)]
    given = take(aime, max_job_batch=8)
    assert [data["prompt"] for data in given] == ["0", "1", "2"]
    items = [{**wish(), "job_id": data["job_id"], "progress": 10, "progress_data": {"text": "t"}} for data in given]
    for item in items:
        del item["auth"]
    assert call(aime, "/worker_job_progress", items) == (200, [{"success": True, "cmd": "ok"}] * 3)
    assert client.poll(jobs[1]).json()["progress"]["progress_data"] == {"text": "t"}
    for data in given:
        assert give(aime, data, seed=1) == (200, {"cmd": "ok"})
    assert [client.follow(job_id)["seed"] for job_id in jobs] == [1, 1, 1]


def test_results_that_nobody_waits_for_are_answered_200(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    (data,) = take(aime)
    refused = call(aime, "/worker_job_result", {**wish(auth_key="x"), "job_id": data["job_id"], "seed": 1})
    assert (refused[0], refused[1]["success"]) == (200, False)
    assert give(aime, data, seed=1, images=[picture()]) == (200, {"cmd": "ok"})
    first = client.follow(job_id)
    again = give(aime, data, seed=2, images=[picture("blue")])
    assert (again[0], again[1]["cmd"]) == (200, "warning")
    assert client.follow(job_id) == first
    for unknown in ("nothing", "nothing#1", f"{job_id}#7", None):
        assert call(aime, "/worker_job_result", {**wish(), "job_id": unknown, "seed": 1})[1]["cmd"] == "warning"
        assert call(aime, "/worker_job_progress", [{**wish(), "job_id": unknown, "progress": 1}]) == (
            200, [{"success": True, "cmd": "ok"}],
        )  # fmt: skip
    late = call(aime, "/worker_job_progress", {**wish(), "job_id": data["job_id"], "progress": 99})
    assert late == (200, [{"success": True, "cmd": "ok"}])
    assert call(aime, "/worker_job_progress", "rubbish")[0] == 200


def test_a_cancellation_reaches_the_worker_while_it_computes(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    (data,) = take(aime)
    item = {**wish(), "job_id": data["job_id"], "progress": 1, "progress_data": None}
    assert call(aime, "/worker_job_progress", item) == (200, [{"success": True, "cmd": "ok"}])
    assert requests.post(aime.url("/draw/cancel"), json={"job_id": job_id}, timeout=10).json()["success"]
    told = call(aime, "/worker_job_progress", item)[1][0]
    assert told == {"success": True, "cmd": "ok", "job_id": data["job_id"], "canceled": True}
    assert give(aime, data, seed=1)[1]["cmd"] == "warning"
    # It has sent its result: if the job were named again, the worker would be silent for good.
    assert call(aime, "/worker_job_progress", item)[1] == [{"success": True, "cmd": "ok"}]
    assert client.poll(job_id).json()["job_state"] == "canceled"


def test_an_error_is_an_output_where_it_is_declared(aime: ServedApp) -> None:
    declared, other = Client(aime.url(""), "twin"), Client(aime.url(""), "draw")
    with Worker(aime.url(""), compute=lambda worker, data: {"error": "out of paint"}) as worker:
        answer = declared.send(prompt="a")
        assert (answer.status_code, answer.json()["success"], answer.json()["error"]) == (200, True, "out of paint")
        answer = other.send(prompt="a")
        assert (answer.status_code, answer.json()["success"]) == (400, False)
        assert "out of paint" in answer.json()["error"]
    worker.join()


def test_the_job_of_a_dead_worker_is_given_again(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    (dead,) = take(aime, auth="dies")
    with Worker(aime.url(""), name="lives", compute=draw) as worker:
        result = client.follow(job_id)
        assert result["auth"] == "lives"
        late = give(aime, dead, seed=99)
        assert (late[0], late[1]["cmd"]) == (200, "warning")
        assert client.follow(job_id) == result
    worker.join()


def test_a_worker_that_starts_anew_loses_what_it_had(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    (before,) = take(aime, auth="again")
    about = {"auth": "again", "job_type": "draw", "auth_key": "worker-secret", "interface_version": "1"}
    assert call(aime, "/worker_login", {"worker_parameters": about})[1]["success"]
    (after,) = take(aime, auth="again")
    assert before["job_id"] != after["job_id"]
    assert give(aime, before, seed=1)[1]["cmd"] == "warning"
    assert give(aime, after, seed=2)[1]["cmd"] == "ok"
    assert client.follow(job_id)["seed"] == 2


def test_a_call_that_was_hung_up_gets_no_job(aime: ServedApp) -> None:
    with pytest.raises(requests.Timeout):
        requests.post(aime.url("/worker_job_request"), json=wish(auth="gone"), timeout=0.5)
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    (data,) = take(aime, auth="here")
    assert give(aime, data, seed=3)[1]["cmd"] == "ok"
    assert client.follow(job_id)["seed"] == 3
    assert aime.status(job_id)["attempt"] == 1  # a job that nobody received is not a run


