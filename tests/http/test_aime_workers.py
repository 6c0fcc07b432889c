"""Workers of the AIME protocol: every response they may get, their death, late results, cancellation."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
images = { type = "image_list" }
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


def test_the_end_of_a_job_is_one_line_in_the_log(aime: ServedApp, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tasks.jobs")
    Client(aime.url(""), "draw").submit(prompt="a private wish")
    [data] = take(aime)
    give(aime, data, error="it broke")
    [line] = [record for record in caplog.records if record.name == "tasks.jobs"]
    told = vars(line)
    assert (told["outcome"], told["error"], told["attempts"]) == ("failed", "execution_failed", 1)
    assert "a private wish" not in repr(told)


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
    assert requests.post(aime.url("/draw/cancel"), json={"job_id": job_id}, timeout=60).json()["success"]
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
    (data,) = take(aime)
    wait_for(lambda: client.poll(waiting).json()["progress"]["num_workers_online"], "the worker in the list", 10)
    seen = []
    for percent in (10, 50, 90):
        item = {**wish(), "job_id": data["job_id"], "progress": percent, "progress_data": None}
        assert call(aime, "/worker_job_progress", item)[1][0]["success"]
        time.sleep(0.25)
        seen.append([client.poll(one).json()["progress"]["estimate"] for one in (job_id, waiting)])
    for own, other in seen:  # a worker that has just ended may still be expected for the second job
        assert own == pytest.approx(60, abs=5)
        assert other == pytest.approx(60, abs=5) or other == pytest.approx(120, abs=5)
    assert seen[0][0] > seen[1][0] > seen[2][0]
    assert give(aime, data, seed=1)[1] == {"cmd": "ok"}
    (other,) = take(aime)
    assert give(aime, other, seed=1)[1] == {"cmd": "ok"}


def large_result(data: dict[str, Any], size_bytes: int) -> tuple[bytes, str]:
    """Return a result as the package sends it, with what names the job behind its files; and the hash of its file."""
    content = b"\0" + bytes(range(256)) * (size_bytes // 256)
    names = {name: wish()[name] for name in ("version", "auth", "auth_key")} | {"job_type": "many"}
    text = json.dumps({"images": ["MARK", picture()], "seed": 5, **names, "job_id": data["job_id"]})
    uri = "data:image/png;base64," + base64.b64encode(content).decode()
    return text.replace("MARK", uri).encode(), hashlib.sha256(content).hexdigest()


def test_a_result_of_100_mb_is_never_in_memory(aime: ServedApp) -> None:
    client = Client(aime.url(""), "many")
    job_id = client.submit(prompt="a")
    (data,) = take(aime, job_type="many")
    body, digest = large_result(data, 90_000_000)
    assert len(body) > 120_000_000
    headers = {"Content-Type": "application/json"}
    begun_bytes, most_bytes = memory_bytes(), 0
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(requests.post, aime.url("/worker_job_result"), data=body, headers=headers, timeout=120)
        while not answer.done():
            most_bytes = max(most_bytes, memory_bytes())
            time.sleep(0.01)
    assert (answer.result().status_code, answer.result().json()) == (200, {"cmd": "ok"})
    assert most_bytes - begun_bytes < 60_000_000
    del body
    (stored, _) = aime.store.get(job_id).outputs
    assert (stored.sha256, stored.media_type) == (digest, "image/png")
    begun_bytes, most_bytes, head, received = memory_bytes(), 0, b"", hashlib.sha256()
    with requests.get(aime.url("/many/progress"), params={"job_id": job_id}, timeout=60, stream=True) as response:
        rest = b""
        for part in response.iter_content(1 << 20):
            most_bytes = max(most_bytes, memory_bytes())
            if not head:
                head, part = part.split(b"data:image/png;base64,", 1)
            digits = rest + part.split(b'"')[0]
            end = len(digits) // 4 * 4
            rest = digits[end:]
            if not head.endswith(b"end"):
                received.update(base64.b64decode(digits[:end]))
            if b'"' in part:
                head += b"end"
    assert received.hexdigest() == digest
    assert most_bytes - begun_bytes < 60_000_000


def memory_bytes() -> int:
    """Return the memory that this process has in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_result_that_is_too_large_fails_its_job(aime: ServedApp) -> None:
    client = Client(aime.url(""), "many")
    for limited, wanted in (("files", 134_217_728), ("text", 2_097_152), ("values", 100_000)):
        job_id = client.submit(prompt="a")
        (data,) = take(aime, job_type="many")
        if limited == "files":
            body = large_result(data, 101_000_000)[0]
        else:
            extra = "long text " * 300_000 if limited == "text" else [1] * 100_001
            body = json.dumps({"seed": extra, **wish(), "job_id": data["job_id"]}).encode()
        answer = requests.post(aime.url("/worker_job_result"), data=body, timeout=120)
        assert (answer.status_code, answer.json()["cmd"]) == (200, "warning")
        ended = client.poll(job_id)
        assert (ended.status_code, ended.json()["job_state"]) == (400, "lapsed")
        assert str(wanted) in ended.json()["error"], ended.text
    # The worker goes on.
    job_id = client.submit(prompt="b")
    (data,) = take(aime, job_type="many")
    assert give(aime, data, seed=3) == (200, {"cmd": "ok"})
    assert client.follow(job_id)["seed"] == 3


def test_files_and_values_of_a_result(aime: ServedApp) -> None:
    noise = base64.b64encode(os.urandom(6000)).decode()
    good, broken = f"data:image/png;base64,{noise}", f"data:image/png;base64,={noise}"
    for result, expected in (
        ({"seed": good}, {"seed": good}),  # a file, though it is not declared as one
        ({"seed": {"inner": [good]}}, {"seed": {"inner": [good]}}),
        ({"seed": 1, "mood": good}, {"seed": 1}),
        ({"images": [good, picture()]}, {"images": [good, picture()]}),
        ({"seed": noise}, {"seed": noise}),
        ({"images": [broken]}, "the worker sent images with base64 that cannot be decoded"),
        ({"seed": [{"inner": f"data:a/b;base64,{'A' * 4_000_000}"}]}, "the worker sent 3000000 bytes as seed"),
        ({"seed": "A" * 3_000_000}, "the worker sent 3000000 bytes as seed"),
    ):
        client = Client(aime.url(""), "draw")
        job_id = client.submit(prompt="a")
        (data,) = take(aime)
        give(aime, data, **result)
        answer = client.poll(job_id).json()
        if isinstance(expected, str):
            assert expected in answer["error"]
        else:
            assert {name: answer["job_result"][name] for name in expected} == expected


def test_progress_that_is_too_large_does_not_silence_its_worker(aime: ServedApp) -> None:
    body = json.dumps([{**wish(), "job_id": "a#1", "progress": 1, "progress_data": {"text": "text " * 2_000_000}}])
    answer = requests.post(aime.url("/worker_job_progress"), data=body, timeout=60)
    assert (answer.status_code, answer.json()[0]["success"]) == (200, False)


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


def workers(app: ServedApp, endpoint: str = "draw") -> dict[str, Any]:
    described = requests.get(app.url(f"/api/endpoints/{endpoint}"), timeout=60).json()
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
    told = wait_for(lambda: workers(aime).get("told"), "the worker in the list", 10)
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
    worker = wait_for(lambda: workers(aime, "many").get("large"), "the worker in the list", 10)
    assert (worker["max_batch_size"], worker["free_slots"]) == (256, 186)
    for data in given:
        assert give(aime, data, auth="large", seed=int(data["prompt"])) == (200, {"cmd": "ok"})
    assert client.follow(jobs[69])["seed"] == 69
    assert call(aime, "/worker_job_request", wish(auth="largest", max_job_batch=5000))[1]["cmd"] == "no_job"
    largest = wait_for(lambda: workers(aime).get("largest"), "the worker in the list", 10)
    assert largest["max_batch_size"] == 1024


def test_a_call_that_was_hung_up_gets_no_job(aime: ServedApp) -> None:
    with pytest.raises(requests.Timeout):
        requests.post(aime.url("/worker_job_request"), json=wish(auth="gone"), timeout=0.5)
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    (data,) = take(aime, auth="here")
    assert give(aime, data, auth="here", seed=3)[1]["cmd"] == "ok"
    assert client.follow(job_id)["seed"] == 3
    assert aime.status(job_id)["attempt"] == 1  # a job that nobody received is not a run


