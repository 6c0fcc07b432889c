"""Workers of the AIME protocol: every response they may get, their death, late results, cancellation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests

from jobs.store import keys
from tests.support.aime_endpoint import draw, write_endpoint
from tests.support.aime_peers import Client, Worker, picture
from tests.support.api import wait_for
from tests.support.served_app import ServedApp


@pytest.fixture(scope="module")
def aime(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints, endpoint="job_inactivity_timeout = 4", timeout_s="1")
    write_endpoint(endpoints, "twin", outputs='error = { type = "string" }', timeout_s="1")
    (endpoints / "many").mkdir()
    (endpoints / "many" / "aime_api_endpoint.cfg").write_text(MANY)
    return serve(ENDPOINTS_DIR=endpoints, HEARTBEAT_S=0.5, SLOT_LEASE_S=3)


MANY = """
[ENDPOINT]
name = "many"
[WORKER]
job_type = "many"
auth_key = "worker-secret"
[INPUTS]
prompt = { type = "string" }
[OUTPUTS]
seed = { type = "integer" }
"""


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


def test_the_estimate_counts_down(aime: ServedApp) -> None:
    aime.store.client.hset(keys.RATES, mapping={"aime:draw": 60})
    client = Client(aime.url(""), "draw")
    job_id, waiting = client.submit(prompt="a"), client.submit(prompt="b")
    assert client.poll(job_id).json()["progress"]["estimate"] == -1  # no worker
    (data,) = take(aime)
    wait_for(lambda: client.poll(waiting).json()["progress"]["num_workers_online"], "the worker in the list", 10)
    seen = []
    for percent in (10, 50, 90):
        item = {**wish(), "job_id": data["job_id"], "progress": percent, "progress_data": None}
        assert call(aime, "/worker_job_progress", item)[1][0]["success"]
        time.sleep(0.25)
        seen.append([client.poll(one).json()["progress"]["estimate"] for one in (job_id, waiting)])
    for own, other in seen:
        assert (own, other) == (pytest.approx(60, abs=5), pytest.approx(120, abs=5))
    assert seen[0][0] > seen[1][0] > seen[2][0]
    assert seen[0][1] > seen[1][1] > seen[2][1]
    assert give(aime, data, seed=1)[1] == {"cmd": "ok"}
    (other,) = take(aime)
    assert give(aime, other, seed=1)[1] == {"cmd": "ok"}


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
        late = give(aime, dead, auth="dies", seed=99)
        assert (late[0], late[1]["cmd"]) == (200, "warning")
        assert client.follow(job_id) == result
    worker.join()


def test_a_login_leaves_running_jobs_alone(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    (data,) = take(aime, auth="again")
    about = {"auth": "again", "job_type": "draw", "auth_key": "worker-secret", "interface_version": "1"}
    assert call(aime, "/worker_login", {"worker_parameters": about})[1]["success"]
    assert call(aime, "/worker_job_request", wish(auth="again"))[1]["cmd"] == "no_job"
    assert give(aime, data, auth="again", seed=2) == (200, {"cmd": "ok"})
    assert client.follow(job_id)["seed"] == 2


def test_two_workers_of_one_name(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    first = client.submit(prompt="a")
    (silent,) = take(aime, auth="host")  # it computes for a long time and sends no progress
    second = client.submit(prompt="b")
    (other,) = take(aime, auth="host")
    assert (silent["prompt"], other["prompt"]) == ("a", "b")
    assert give(aime, other, auth="host", seed=2) == (200, {"cmd": "ok"})
    deadline = time.monotonic() + aime.settings.leases.slot_lease_s + 0.5
    while time.monotonic() < deadline:
        assert call(aime, "/worker_job_request", wish(auth="host"))[1]["cmd"] == "no_job"
    assert give(aime, silent, auth="host", seed=1) == (200, {"cmd": "ok"})
    assert [client.follow(job_id)["seed"] for job_id in (first, second)] == [1, 2]
    assert aime.status(first)["attempt"] == 1


def test_only_the_worker_that_holds_a_job_reports_on_it(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    (data,) = take(aime, auth="holder")
    ours = {**wish(auth="holder"), "job_id": data["job_id"], "progress": 20, "progress_data": {"text": "mine"}}
    assert call(aime, "/worker_job_progress", ours) == (200, [{"success": True, "cmd": "ok"}])
    theirs = {**ours, "auth": "stranger", "progress": 90, "progress_data": {"text": "theirs"}}
    (refused,) = call(aime, "/worker_job_progress", theirs)[1]
    assert (refused["success"], refused["msg"]) == (
        False, f"Job with job id {data['job_id']} not found in worker stranger!",
    )  # fmt: skip
    in_batch = {**theirs, "progress_data": {"text": "theirs", "auth": "stranger"}}
    del in_batch["auth"]  # batches of progress name their worker in the data only
    assert not call(aime, "/worker_job_progress", [in_batch])[1][0]["success"]
    answer = give(aime, data, auth="stranger", seed=99)
    assert (answer[0], answer[1]["cmd"]) == (200, "warning")
    progress = client.poll(job_id).json()["progress"]
    assert (progress["progress"], progress["progress_data"]) == (20, {"text": "mine"})
    unnamed = {key: value for key, value in ours.items() if key != "auth"} | {"progress": 30, "progress_data": None}
    assert call(aime, "/worker_job_progress", unnamed) == (200, [{"success": True, "cmd": "ok"}])
    assert client.poll(job_id).json()["progress"]["progress"] == 30
    assert give(aime, data, auth="holder", seed=1) == (200, {"cmd": "ok"})
    assert client.follow(job_id)["seed"] == 1


def workers(app: ServedApp) -> dict[str, Any]:
    described = requests.get(app.url("/api/endpoints/draw"), timeout=10).json()
    return {worker["name"]: worker for worker in described["workers"]}


def test_a_waiting_worker_whose_connection_broke_is_not_listed(aime: ServedApp) -> None:
    waits = threading.Thread(target=call, args=(aime, "/worker_job_request", wish(auth="stays")))
    with pytest.raises(requests.Timeout):
        requests.post(aime.url("/worker_job_request"), json=wish(auth="broke"), timeout=0.3)
    waits.start()
    begun = time.monotonic()
    wait_for(lambda: "broke" not in workers(aime) and "stays" in workers(aime), "the worker to disappear", 10)
    assert time.monotonic() - begun < 3
    waits.join()
    assert "stays" in workers(aime)  # its call ended as it should: it is about to ask again
    # It is known still: without "version", a call introduces nobody.
    known = {key: value for key, value in wish(auth="broke").items() if key != "version"}
    assert call(aime, "/worker_job_request", known)[1]["cmd"] == "no_job"


def test_what_a_login_told_survives_the_next_requests(aime: ServedApp) -> None:
    about = {
        "auth": "told", "job_type": "draw", "auth_key": "worker-secret", "interface_version": "1.0", "version": 3,
        "gpu_name": "H200", "num_gpus": 2, "framework": "vllm", "framework_version": "0.9", "pytorch_version": "2.7",
        "max_batch_size": 256,
    }  # fmt: skip
    model = {"label": "Llama", "quantization": "fp8", "size": "8B", "family": "Llama", "type": "LLM", "repo_name": "r"}
    assert call(aime, "/worker_login", {"worker_parameters": about, "model_parameters": model})[1]["success"]
    told = workers(aime)["told"]
    bare = {"auth": "told", "job_type": "draw", "auth_key": "worker-secret", "max_job_batch": 8}
    for request in (bare, {**bare, "version": "1.0", "gpu_name": "", "model_label": None}):
        assert call(aime, "/worker_job_request", request)[1]["cmd"] == "no_job"
        assert workers(aime)["told"] == told
    assert told == {
        "name": "told", "state": "waiting", "max_batch_size": 256, "free_slots": 256, "gpu_name": "H200", "num_gpus": 2,
        "framework": "vllm", "framework_version": "0.9", "pytorch_version": "2.7", "model": model,
    }  # fmt: skip


def test_a_large_batch(aime: ServedApp) -> None:
    client = Client(aime.url(""), "many")
    jobs = [client.submit(prompt=str(number)) for number in range(70)]
    given = take(aime, auth="large", job_type="many", max_job_batch=256)
    assert [data["prompt"] for data in given] == [str(number) for number in range(70)]
    items = [{**wish(auth="large"), "job_id": data["job_id"], "progress": 1} for data in given]
    assert call(aime, "/worker_job_progress", items) == (200, [{"success": True, "cmd": "ok"}] * 70)
    (worker,) = requests.get(aime.url("/api/endpoints/many"), timeout=10).json()["workers"]
    assert (worker["max_batch_size"], worker["free_slots"]) == (256, 186)
    for data in given:
        assert give(aime, data, auth="large", seed=int(data["prompt"])) == (200, {"cmd": "ok"})
    assert client.follow(jobs[69])["seed"] == 69
    assert call(aime, "/worker_job_request", wish(auth="largest", max_job_batch=5000))[1]["cmd"] == "no_job"
    assert workers(aime)["largest"]["max_batch_size"] == 1024


def test_a_call_that_was_hung_up_gets_no_job(aime: ServedApp) -> None:
    with pytest.raises(requests.Timeout):
        requests.post(aime.url("/worker_job_request"), json=wish(auth="gone"), timeout=0.5)
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    (data,) = take(aime, auth="here")
    assert give(aime, data, auth="here", seed=3)[1]["cmd"] == "ok"
    assert client.follow(job_id)["seed"] == 3
    assert aime.status(job_id)["attempt"] == 1  # a job that nobody received is not a run


