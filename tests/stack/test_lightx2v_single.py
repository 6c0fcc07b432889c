"""LightX2V's service as its documents describe it (profile single), and the loops of its scripts."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from stack import ports
from tests.stack.test_lightx2v import call, png
from tests.support.harness import ENDLESS_STEPS, Stack, running, wait_for

#: The scripts look this often, seconds.
LOOK_S = 0.5


#: A video model that only counts steps, of 5 ms each: what is shown here does not depend on torch.
COUNTING = """
[counting]
executor = "noop"
kinds = ["text2video", "img2video"]
limits = { steps = [1, 100000] }
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "models.toml"
    path.write_text(COUNTING)
    return path


@pytest.fixture(scope="module")
def single(models: Path) -> Iterator[Stack]:
    """One service in the profile of the documents."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    with running(folder, models, "gpu0", "io", LIGHTX2V_PROFILE="single", NOOP_STEP_MS=5) as stack:
        yield stack
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def services(models: Path) -> Iterator[list[str]]:
    """Two services on ports of their own, each of one slot, over the same Redis; their addresses."""
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    options = {"SERVICE_SLOT": "gpu0", "LIGHTX2V_PROFILE": "single", "NOOP_STEP_MS": 5}
    with running(folder, models, "gpu0", "gpu1", "io", **options) as stack:
        port = ports.next_free("127.0.0.1", stack.port + 1)
        stack.run("web1", "gunicorn", "app:create_app()", PORT=str(port), SERVICE_SLOT="gpu1")
        urls = [stack.url(""), f"http://127.0.0.1:{port}"]
        wait_for(lambda: all(_is_up(url) for url in urls), "both services")
        yield urls
    shutil.rmtree(folder, ignore_errors=True)


def _is_up(url: str) -> bool:
    try:
        return get(url, "/health").status_code == 200
    except requests.ConnectionError:
        return False


def get(url: str, path: str) -> requests.Response:
    return requests.get(url + path, timeout=30)


def post(url: str, **fields: Any) -> requests.Response:
    return requests.post(url + "/v1/tasks/", json={"prompt": "a cat", "image_path": "", **fields}, timeout=30)


def poll(url: str, task_id: str) -> str:
    """As the scheduler's threads do: nothing but completed and failed ends it."""

    def look() -> Any:
        word = get(url, f"/v1/tasks/{task_id}/status").json()["status"]
        return word if word in ("completed", "failed") else None

    return str(wait_for(look, f"the end of {task_id}"))


def is_idle(url: str) -> bool:
    return bool(get(url, "/v1/service/status").json()["service_status"] == "idle")


def await_idle(url: str) -> None:
    wait_for(lambda: is_idle(url), "an idle service")


def test_a_task_from_the_post_to_its_end(single: Stack) -> None:
    url = single.url("")
    await_idle(url)
    assert get(url, "/v1/service/status").json()["start_time"] is None
    body = post(url, infer_steps=2, save_video_path="cat.mp4").json()
    assert (body["task_status"], body["save_video_path"]) == ("processing", "cat.mp4")
    assert poll(url, body["task_id"]) == "completed"
    ended = get(url, f"/v1/tasks/{body['task_id']}/status").json()
    assert (ended["success"], ended["error"], ended["request"]["seed"]) == (True, None, 42)
    assert is_idle(url)


def test_it_refuses_while_it_works_and_is_busy_in_the_same_instant(single: Stack) -> None:
    url = single.url("")
    await_idle(url)
    task_id = post(url, infer_steps=ENDLESS_STEPS, task_id="FIRST-1").json()["task_id"]
    status = get(url, "/v1/service/status").json()
    assert (status["service_status"], status["task_id"]) == ("busy", task_id)
    assert len(status["start_time"]) == 26
    for sent in ({}, {"task_id": task_id}):  # busy is looked at first
        refused = post(url, **sent)
        assert (refused.status_code, refused.json()["detail"]) == (400, "Service busy")
    form = call(single, "POST", "/v1/tasks/form", files={"image_file": ("a.png", png())})
    assert (form.status_code, form.json()["detail"]) == (400, "Service busy")
    assert get(url, f"/v1/tasks/{task_id}/status").json()["status"] == "processing"
    assert task_id not in get(url, "/v1/tasks/").json()
    assert get(url, f"/v1/tasks/{task_id}/result").status_code == 404

    stopped = requests.delete(url + "/v1/tasks/running", timeout=30)
    assert (stopped.status_code, stopped.json()["stop_status"]) == (200, "success")
    assert stopped.json()["reason"] == "Task stopped successfully."
    # It takes new work at once, and whoever polls the stopped one comes to an end.
    assert is_idle(url)
    after = post(url, infer_steps=1)
    assert after.status_code == 200, after.text
    assert poll(url, task_id) == "failed"
    listed = get(url, "/v1/tasks/").json()[task_id]
    assert (listed["success"], listed["error"], "completion_time" in listed) == (False, "Task cancelled by user", False)
    assert listed["message"]["prompt"] == "a cat"
    assert poll(url, after.json()["task_id"]) == "completed"
    await_idle(url)
    again = post(url, task_id=task_id)
    assert (again.status_code, again.json()["detail"]) == (400, f"Task ID {task_id} already exists")
    assert requests.delete(url + "/v1/tasks/running", timeout=30).json()["stop_status"] == "do_nothing"


def test_only_one_of_many_at_once_is_accepted(single: Stack) -> None:
    url = single.url("")
    await_idle(url)
    codes: list[int] = []

    def submit() -> None:
        codes.append(post(url, infer_steps=ENDLESS_STEPS).status_code)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] + [400] * 7
    requests.delete(url + "/v1/tasks/running", timeout=30)


def test_check_status_reads_three_json_bodies(single: Stack) -> None:
    url = single.url("")
    for path in ("/v1/service/status", "/v1/tasks/", "/v1/tasks/test_task_001/status"):
        answer = get(url, path)
        assert answer.status_code == 200
        assert isinstance(answer.json(), dict)
    unknown = get(url, "/v1/tasks/test_task_001/status").json()
    assert unknown == {"status": "not_found", "task_id": "test_task_001"}


def test_the_stop_script_stops(single: Stack) -> None:
    url = single.url("")
    await_idle(url)
    task_id = post(url, infer_steps=ENDLESS_STEPS).json()["task_id"]
    answer = get(url, "/v1/local/video/generate/stop_running_task")
    assert (answer.status_code, answer.json()["stop_status"]) == (200, "success")
    assert poll(url, task_id) == "failed"
    assert get(url, "/v1/local/video/generate/stop_running_task").json()["stop_status"] == "do_nothing"


def test_busy_heals_when_the_worker_dies(single: Stack) -> None:
    import signal

    url = single.url("")
    await_idle(url)
    task_id = post(url, infer_steps=ENDLESS_STEPS).json()["task_id"]
    single.wait_until(task_id, lambda view: view["progress"]["step"] > 0, "a step")
    single.kill("gpu0", signal.SIGKILL)
    requests.delete(url + "/v1/tasks/running", timeout=30)
    assert poll(url, task_id) == "failed"
    single.worker("gpu0")
    await_idle(url)
    assert poll(url, post(url, infer_steps=1).json()["task_id"]) == "completed"


def test_each_service_keeps_to_its_slot(services: list[str]) -> None:
    first, second = services
    for url in services:
        await_idle(url)
    tasks = [post(url, infer_steps=ENDLESS_STEPS).json()["task_id"] for url in services]
    slots = [get(url, f"/v1/tasks/{task}/status").json()["slot"] for url, task in zip(services, tasks, strict=True)]
    assert slots == ["gpu0", "gpu1"]
    assert [get(url, "/v1/service/status").json()["task_id"] for url in services] == tasks
    assert requests.delete(first + "/v1/tasks/running", timeout=30).json()["cancelled"] == tasks[:1]
    assert [is_idle(url) for url in services] == [True, False]
    assert requests.delete(second + "/v1/tasks/running", timeout=30).json()["cancelled"] == tasks[1:]
    assert [list(get(url, "/v1/tasks/").json()) for url in services] == [tasks[:1], tasks[1:]]
    refused = post(first, slot="gpu1")
    assert refused.status_code == 422


def test_the_scheduler_of_several_servers(services: list[str]) -> None:
    """Take the first idle server, post, look again after half a second; poll each task until completed or failed."""
    for url in services:
        await_idle(url)
    used: list[str] = []
    ends: dict[str, str] = {}
    threads = []
    for number in range(5):
        url = wait_for(lambda: next((url for url in services if is_idle(url)), None), "an idle server")
        answer = post(url, infer_steps=400, seed=number).json()
        assert "task_id" in answer, answer  # a server that says idle and refuses loses the job
        assert not is_idle(url) or poll(url, answer["task_id"])
        used.append(url)

        def watch(url: str = url, task_id: str = answer["task_id"]) -> None:
            ends[task_id] = poll(url, task_id)

        threads.append(threading.Thread(target=watch))
        threads[-1].start()
        time.sleep(LOOK_S)
    # One is stopped under it: its thread must end, too.
    stopped = post(wait_for(lambda: next((u for u in services if is_idle(u)), None), "idle"), infer_steps=ENDLESS_STEPS)
    threads.append(threading.Thread(target=lambda: ends.update(stopped=poll(services[0], stopped.json()["task_id"]))))
    threads[-1].start()
    for url in services:
        requests.delete(url + "/v1/tasks/running", timeout=30)
    for thread in threads:
        thread.join(60)
    assert len(ends) == 6
    assert ends["stopped"] == "failed"
    assert set(used) == set(services)
