"""The client side of the AIME protocol, with HTTP workers that are independent of the server's code."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from app.access import auth
from app.protocols.aime.clients import streams
from app.protocols.aime.endpoints import served
from jobs.callers import Caller, Role
from jobs.store.credentials.api_keys import KeyRing
from jobs.store.events import Event
from tests.support.aime_endpoint import draw, write_endpoint
from tests.support.aime_peers import Client, Worker, opened, picture
from tests.support.api import wait_for
from tests.support.served_app import ServedApp


@pytest.fixture(scope="module")
def aime(tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., ServedApp]) -> ServedApp:
    endpoints = tmp_path_factory.mktemp("endpoints")
    write_endpoint(endpoints, timeout_s="1")
    keyed = 'authorization_keys = { anna = "key-of-anna", bert = "key-of-bert" }'
    write_endpoint(endpoints, "keyed", clients=keyed, timeout_s="1")
    limited = 'authorization_keys = { carl = "key-of-carl" }\nclient_request_limit = 2'
    write_endpoint(endpoints, "other", clients=limited, timeout_s="1")
    return serve(ENDPOINTS_DIR=endpoints, HEARTBEAT_S=0.5, SLOT_LEASE_S=3)


@pytest.fixture
def worker(aime: ServedApp) -> Iterator[Worker]:
    with Worker(aime.url(""), compute=draw) as one:
        yield one
    one.join()
    assert not one.ended


def test_a_job_is_answered_with_its_result(aime: ServedApp, worker: Worker) -> None:
    response = Client(aime.url(""), "draw").send(prompt="a", seed=5)
    assert response.status_code == 200
    result = response.json()
    assert (result["success"], result["ep_version"], result["seed"], result["auth"]) == (True, 3, 5, worker.name)
    assert result["worker_interface_version"] == "0.9.12"
    assert "undeclared" not in result
    assert [opened(uri).getpixel((0, 0)) for uri in result["images"]] == [(255, 0, 0), (0, 128, 0)]
    times = [result[name] for name in ("start_time", "start_time_compute", "result_received_time")]
    assert times == sorted(times)
    assert 0 <= result["compute_duration"] <= result["total_duration"]
    (data,) = worker.given
    assert data | {"prompt": "a", "seed": 5, "fast": False, "size": "small", "mood": "calm"} == data
    assert {"strength", "image", "options", "key", "client_session_auth_key", "wait_for_result"}.isdisjoint(data)
    offer = worker.offers[0]
    assert offer["endpoint_name"] == "draw"
    assert offer["final_output_descriptions"]["images"] == {"type": "image_list", "format": "PNG", "color_space": "RGB"}


def test_polling_shows_place_progress_and_the_result_as_often_as_asked(aime: ServedApp) -> None:
    client, seen = Client(aime.url(""), "draw"), []
    wait_for(lambda: not requests.get(aime.url("/api/draw"), timeout=60).json()["workers"], "workers to be forgotten")
    first, second = client.submit(prompt="a"), client.submit(prompt="b")
    answer = client.poll(second).json()
    assert (answer["job_state"], answer["progress"]["queue_position"]) == ("queued", 2)
    assert (answer["progress"]["estimate"], answer["progress"]["num_workers_online"]) == (-1, 0)
    go_on = threading.Event()

    def slowly(worker: Worker, data: dict[str, Any]) -> dict[str, Any]:
        result = draw(worker, data)
        assert go_on.wait(30)
        return result

    with Worker(aime.url(""), compute=slowly) as worker:
        answer = wait_for(lambda: (a := client.poll(first).json())["progress"]["progress"] == 50 and a, "progress")
        assert answer["job_state"] == "processing"
        assert (answer["progress"]["queue_position"], answer["progress"]["num_workers_online"]) == (0, 1)
        assert answer["progress"]["estimate"] >= 0
        assert answer["progress"]["progress_data"].keys() == {"progress_images", "text"}
        assert worker.key not in json.dumps(answer)
        go_on.set()
        result = client.follow(first, seen)
        assert client.follow(first) == result == client.poll(first).json()["job_result"]
        assert "progress" not in client.poll(first).json()
        assert len(client.follow(second)["images"]) == 2
    worker.join()
    # One call per job and one that waits: no client polls without a pause.
    assert worker.calls["/worker_job_request"] <= 4
    assert {frozenset(reply) for reply in worker.replies} == {frozenset({"success", "cmd"})}


def test_every_problem_of_a_request_is_named_at_once(aime: ServedApp) -> None:
    response = Client(aime.url(""), "draw").send(
        prompt="x" * 21, seed=101, strength="much", fast="no", size="huge", options="{", unknown=1,
        image="data:image/png;base64,AA",
    )  # fmt: skip
    assert response.status_code == 400
    body = response.json()
    assert (body["success"], body["ep_version"]) == (False, 3)
    named = {problem.partition(":")[0] for problem in body["error"]}
    assert named == {"prompt", "seed", "strength", "fast", "size", "options", "image", "unknown"}
    assert Client(aime.url(""), "draw").send().json()["error"] == ["prompt: is required"]
    for data, code in ((b"[1]", 400), (b"{", 400)):
        response = requests.post(aime.url("/draw"), data=data, headers={"Content-Type": "application/json"}, timeout=60)
        assert (response.status_code, response.json()["success"]) == (code, False)


def test_inputs_are_converted(aime: ServedApp, worker: Worker) -> None:
    query = {"prompt": "q", "seed": "9", "strength": "1.5", "fast": "true", "size": "large"}
    assert requests.get(aime.url("/draw"), params=query, timeout=90).json()["seed"] == 9
    sent = {"prompt": "p", "image": picture("red", (70, 33), "JPEG"), "options": '{"a": [1]}'}
    assert Client(aime.url(""), "draw").send(**sent).status_code == 200
    by_query, by_body = worker.given
    assert (by_query["strength"], by_query["fast"], by_query["size"]) == (1.0, True, "large")
    assert by_body["options"] == {"a": [1]}
    image = opened(by_body["image"])
    assert (image.format, image.size) == ("PNG", (32, 32))


def test_keys_and_sessions(aime: ServedApp) -> None:
    url = aime.url("")
    nobody = Client(url, "keyed").send(prompt="a")
    assert (nobody.status_code, nobody.json()["success"]) == (401, False)
    old = Client(url, "keyed", session="unknown").send(prompt="a")
    assert (old.status_code, old.json()["error"]) == (
        401, ["Client session authentication key not registered in API Server"],
    )  # fmt: skip
    wrong = Client(url, "keyed", key="wrong").send(prompt="a")
    assert (wrong.status_code, wrong.json()["error"]) == (401, ["Key not valid"])
    assert Client(url, "keyed", key="worker-secret").send(prompt="a").status_code == 401
    wish = {"auth": "w", "job_type": "draw", "auth_key": "key-of-anna", "version": "1"}
    assert requests.post(aime.url("/worker_job_request"), json=wish, timeout=60).json()["cmd"] == "error"
    assert Client(url, "keyed", key="key-of-carl").send(prompt="a").status_code == 402
    assert Client(url, "keyed", key="wrong").login() == {"success": False, "error": "Key not valid"}

    anna, bert = Client(url, "keyed", key="key-of-anna"), Client(url, "keyed", key="key-of-bert")
    by_key = anna.submit(prompt="a")
    assert anna.login()["success"]
    anna.key = None
    by_session = anna.submit(prompt="a")
    assert anna.poll(by_key).status_code == anna.poll(by_session).status_code == 200
    other = bert.poll(by_key)
    assert (other.status_code, other.json()["success"]) == (402, False)
    assert anna.poll("nothing").status_code == 402
    # A session of one endpoint is not valid at another.
    assert Client(url, "other", session=anna.session).send(prompt="a").status_code == 402
    for job_id in (by_key, by_session):
        query = {"job_id": job_id, "client_session_auth_key": anna.session}
        assert requests.post(aime.url("/keyed/cancel"), json=query, timeout=60).json()["success"]


def test_the_request_limit_holds(aime: ServedApp) -> None:
    carl = Client(aime.url(""), "other", key="key-of-carl")
    jobs = [carl.submit(prompt="a") for _ in range(2)]
    refused = carl.send(prompt="a")
    assert (refused.status_code, refused.json()["success"]) == (402, False)
    assert carl.send(seed=-1).status_code == 400  # errors of the fields come first
    for job_id in jobs:
        body = {"job_id": job_id, "key": carl.key}
        assert requests.post(aime.url("/other/cancel"), json=body, timeout=60).status_code == 200


def test_a_full_queue_is_one_text(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    jobs = [client.submit(prompt="a") for _ in range(4)]
    full = client.send(prompt="a")
    assert full.status_code == 400
    assert "max length of 4" in full.json()["error"]
    assert requests.get(aime.url("/api/draw"), timeout=60).json()["free_queue_slots"] == 0
    for job_id in jobs:
        assert requests.get(aime.url("/draw/cancel"), params={"job_id": job_id}, timeout=60).json()["success"]


def test_a_canceled_job_ends_every_poll(aime: ServedApp) -> None:
    client = Client(aime.url(""), "draw")
    job_id = client.submit(prompt="a")
    assert (
        requests.post(aime.url("/draw/cancel"), json={"job_id": job_id}, timeout=60).json()["job_state"] == "canceled"
    )
    answer = client.poll(job_id)
    assert answer.status_code == 400
    body = answer.json()
    assert (body["success"], body["job_state"], body["progress"]["estimate"]) == (False, "canceled", -1)
    with pytest.raises(ConnectionError):
        client.follow(job_id)
    assert client.polls == 2


def test_endpoints_describe_themselves(aime: ServedApp, worker: Worker) -> None:
    url = aime.url
    assert requests.get(url("/api/endpoints"), timeout=60).json() == {"endpoints": ["draw", "keyed", "other"]}
    mine = requests.get(url("/api/endpoints"), params={"key": "key-of-anna"}, timeout=60).json()
    assert "keyed" in mine["endpoints"]
    assert "other" not in mine["endpoints"]
    bad = requests.post(url("/api/endpoints"), params={"key": "wrong"}, timeout=60)
    assert (bad.status_code, bad.json()["error"]) == (401, "Key not valid")
    assert requests.post(url("/api/validate_key?key=key-of-anna"), data="false", timeout=60).json() == {
        "success": True, "error": None,
    }  # fmt: skip
    assert requests.get(url("/api/validate_key?key=wrong"), timeout=60).json()["success"] is False
    view = wait_for(
        lambda: (v := requests.get(url("/api/endpoints/draw"), timeout=60).json())["workers"] and v, "the worker"
    )
    assert view == requests.get(url("/api/draw"), timeout=60).json()
    (known,) = [one for one in view["workers"] if one["name"] == worker.name]
    assert (known["state"], known["gpu_name"], known["model"]["label"]) == ("waiting", "Test GPU", "tiny")
    assert known["model"]["family"] == "Unknown"
    assert view["num_workers"] == view["num_active_workers"] == 1
    assert {"prompt", "key", "wait_for_result"} <= view["parameter_description"]["input"].keys()
    described = requests.get(url("/openapi.json"), timeout=60).json()["paths"]["/draw"]["post"]
    fields = described["requestBody"]["content"]["application/json"]["schema"]
    assert fields["required"] == ["prompt"]
    assert fields["properties"]["seed"] == {
        "type": ["number", "null"], "default": 7, "exclusiveMinimum": -1, "exclusiveMaximum": 101,
        "description": "Fractions are cut off.",
    }  # fmt: skip


def test_pages_of_other_sites_may_not_call_a_server(aime: ServedApp) -> None:
    headers = {"Origin": "http://elsewhere", "Access-Control-Request-Method": "POST",
               "Access-Control-Request-Headers": "content-type"}  # fmt: skip
    for path in ("/draw", "/draw/progress", "/draw/login", "/api/validate_key", "/api/endpoints"):
        asked = requests.options(aime.url(path), headers=headers, timeout=60)
        assert asked.status_code == 403, "a server without keys trusts its own pages only"
        assert not [name for name in asked.headers if name.startswith("Access-Control")]
    KeyRing(aime.store).create(Caller(key_id="ops", role=Role.ADMIN))
    auth.keys_changed()
    try:
        for path in ("/draw", "/draw/progress", "/draw/login", "/api/validate_key", "/api/endpoints"):
            asked = requests.options(aime.url(path), headers=headers, timeout=60)
            assert not [name for name in asked.headers if name.startswith("Access-Control")]
        refused = requests.post(aime.url("/keyed"), json={"prompt": "a"}, headers=headers, timeout=60)
        assert refused.status_code == 401
        assert "Access-Control-Allow-Origin" not in refused.headers
    finally:
        aime.store.client.delete("framemill:keys", "framemill:key_names")
        auth.keys_changed()


def test_a_stream_follows_a_job(aime: ServedApp, worker: Worker) -> None:
    job_id = Client(aime.url(""), "draw").submit(prompt="a")
    with requests.get(aime.url("/stream_progress"), params={"job_id": job_id}, stream=True, timeout=90) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        lines = [line.decode() for line in response.iter_lines() if line.startswith(b"data: ")]
    messages = [json.loads(line[6:]) for line in lines]
    assert (messages[-1]["job_state"], messages[-1]["progress"]) == ("done", 100)
    assert len(messages[-1]["job_result"]["images"]) == 2
    refused = requests.get(aime.url("/stream_progress?job_id=x"), timeout=60)
    assert json.loads(refused.text[6:])["cmd"] == "error"


def test_the_progress_of_a_job_is_made_once_for_all_its_streams(
    aime: ServedApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    progress = streams.views.progress
    monkeypatch.setattr(streams.views, "progress", lambda *given: asked.append(1) or progress(*given))
    job_id = Client(aime.url(""), "draw").submit(prompt="a")
    event = Event("1-1", job_id, "-", {"state": "queued"})
    with aime.app.test_request_context():
        endpoint, job = served.endpoints().by_name["draw"], aime.store.get(job_id)
        messages = {streams._message_after(event, endpoint, job) for _ in range(8)}
    assert (len(messages), len(asked)) == (1, 1)
    aime.store.cancel(job_id)


def test_a_repeat_of_a_lost_request_gets_the_running_job(aime: ServedApp) -> None:
    body, go_on = {"prompt": "lost", "seed": 5}, threading.Event()

    def slowly(worker: Worker, data: dict[str, Any]) -> dict[str, Any]:
        assert go_on.wait(30)
        return {"seed": 5}

    def send(body: dict[str, Any], timeout_s: float = 30, **options: Any) -> Any:
        return requests.post(aime.url("/draw"), json=body, timeout=timeout_s, **options).json()

    def waiting() -> int:
        return 4 - int(requests.get(aime.url("/api/endpoints/draw"), timeout=60).json()["free_queue_slots"])

    with Worker(aime.url(""), compute=slowly) as worker, ThreadPoolExecutor() as pool:
        with pytest.raises(requests.Timeout):
            send(body, 0.5)
        repeat = pool.submit(send, body)
        wait_for(lambda: len(worker.given) == 1, "the job")
        others = [
            pool.submit(send, body),  # the repeat waits for the first job: this is one more request
            pool.submit(send, {**body, "seed": 6}),
            pool.submit(send, body, cookies={"session": "other browser"}),
        ]
        wait_for(lambda: waiting() == 3, "the other jobs")
        go_on.set()
        results = [future.result() for future in (repeat, *others)]
        assert all(result["success"] for result in results)
        assert len({result["job_id"] for result in results}) == 4
        assert send(body)["job_id"] not in {result["job_id"] for result in results}  # all were delivered
    worker.join()
    assert len(worker.given) == 5


def test_a_session_keeps_what_the_worker_gives_back(aime: ServedApp) -> None:
    def moody(worker: Worker, data: dict[str, Any]) -> dict[str, Any]:
        return {"seed": 1, "mood": data["mood"] + "!"}

    browser, body = requests.Session(), {"prompt": "a"}
    with Worker(aime.url(""), compute=moody) as worker:
        for _ in range(3):
            assert browser.post(aime.url("/draw"), json=body, timeout=90).status_code == 200
    worker.join()
    assert [data["mood"] for data in worker.given] == ["calm", "calm!", "calm!!"]


def test_a_result_that_is_read_again_does_not_set_the_session_back(aime: ServedApp) -> None:
    def moody(worker: Worker, data: dict[str, Any]) -> dict[str, Any]:
        return {"seed": 1, "mood": data["mood"] + "!"}

    browser = requests.Session()

    def is_done(job_id: str) -> bool:
        poll = browser.get(aime.url("/draw/progress"), params={"job_id": job_id}, timeout=60)
        return bool(poll.json()["job_state"] == "done")

    with Worker(aime.url(""), compute=moody) as worker:
        jobs = []
        for _ in range(2):
            body = {"prompt": "a", "wait_for_result": False}
            jobs.append(browser.post(aime.url("/draw"), json=body, timeout=90).json()["job_id"])
            wait_for(lambda: is_done(jobs[-1]), "the result")
        assert is_done(jobs[0])
        assert browser.post(aime.url("/draw"), json={"prompt": "a"}, timeout=90).status_code == 200
    worker.join()
    assert [data["mood"] for data in worker.given] == ["calm", "calm!", "calm!!"]


def test_a_paused_job_is_queued_and_a_running_one_of_a_worker_is_not_paused(aime: ServedApp) -> None:
    client, waits = Client(aime.url(""), "draw"), threading.Event()
    wait_for(lambda: not requests.get(aime.url("/api/draw"), timeout=60).json()["workers"], "workers to be forgotten")
    first, second = client.submit(prompt="a"), client.submit(prompt="b")
    aime.pause(first)
    answer = client.poll(first).json()
    assert (answer["success"], answer["job_state"]) == (True, "queued")
    progress = answer["progress"]
    assert (progress["progress"], progress["queue_position"], progress["estimate"]) == (0, 1, -1)

    def slowly(worker: Worker, data: dict[str, Any]) -> dict[str, Any]:
        assert waits.wait(30)
        return draw(worker, data)

    with Worker(aime.url(""), compute=slowly) as worker:
        wait_for(lambda: client.poll(second).json()["job_state"] == "processing", "the other job")
        refused = requests.post(aime.url(f"/v1/jobs/{second}/pause"), timeout=60)
        assert (refused.status_code, refused.json()["error"]["message"]) == (
            409, "the job is running and cannot be paused: a worker over HTTP computes it",
        )  # fmt: skip
        waits.set()
        assert client.follow(second)["success"]
        aime.resume(first)
        assert client.follow(first)["success"]
    worker.join()
