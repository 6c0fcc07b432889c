"""LightX2V's service as its documents describe it (profile single), and services of one slot each."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.pictures import PNG
from tests.support.service import Service

STOP = "/v1/tasks/running"


@pytest.fixture
def single(services: Callable[..., Service]) -> Service:
    """A service that accepts one task at a time."""
    service = services(LIGHTX2V_PROFILE="single")
    service.open()
    return service


def create(service: Service, **fields: Any) -> dict[str, Any]:
    response = service.post("/v1/tasks/", json={"prompt": "a cat", "image_path": "", **fields})
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def refusal(service: Service, **fields: Any) -> tuple[int, str]:
    response = service.post("/v1/tasks/", json={"prompt": "a cat", **fields})
    return response.status_code, response.get_json()["detail"]


def word(service: Service, task_id: str) -> str:
    return str(service.json(f"/v1/tasks/{task_id}/status")["status"])


def is_idle(service: Service) -> bool:
    return bool(service.json("/v1/service/status")["service_status"] == "idle")


def test_a_task_from_the_post_to_its_end(single: Service) -> None:
    assert single.json("/v1/service/status")["start_time"] is None
    task = create(single, save_video_path="cat.mp4")
    assert (task["task_status"], task["save_video_path"]) == ("processing", "cat.mp4")
    assert word(single, task["task_id"]) == "processing"
    single.finish()
    ended = single.json(f"/v1/tasks/{task['task_id']}/status")
    assert (ended["status"], ended["success"], ended["error"]) == ("completed", True, None)
    assert ended["request"]["seed"] == 42
    assert is_idle(single)


def test_it_is_busy_in_the_instant_a_task_was_accepted(single: Service) -> None:
    task_id = create(single, task_id="FIRST-1")["task_id"]
    status = single.json("/v1/service/status")
    assert (status["service_status"], status["task_id"], status["queue_size"]) == ("busy", task_id, 0)
    assert len(status["start_time"]) == 26
    assert refusal(single) == (400, "Service busy")
    assert refusal(single, task_id=task_id) == (400, "Service busy")  # whether it is busy is checked first
    form = single.post("/v1/tasks/form", data={"image_file": (io.BytesIO(PNG), "a.png")})
    assert (form.status_code, form.get_json()["error"]["code"]) == (400, "service_busy")
    assert task_id not in single.json("/v1/tasks/")
    assert single.get(f"/v1/tasks/{task_id}/result").status_code == 404


def test_a_task_in_delivery_keeps_it_busy(single: Service) -> None:
    task_id = create(single)["task_id"]
    single.start()
    _, attempt = single.driver.at()
    assert single.store.finish_run(task_id, attempt, slot="gpu0", node="host", run_s=1)
    assert (is_idle(single), refusal(single)[0]) == (False, 400)
    single.deliver(task_id, attempt, PNG, "video/mp4", "mp4")
    assert is_idle(single)


def test_a_stopped_task_fails_and_the_service_takes_new_work_at_once(single: Service) -> None:
    task_id = create(single)["task_id"]
    single.start(step=1)
    stopped = single.delete(STOP).get_json()
    assert stopped == {"stop_status": "success", "reason": "Task stopped successfully.", "cancelled": [task_id]}
    assert is_idle(single)
    after = create(single)["task_id"]
    assert word(single, task_id) == "failed"
    listed = single.json("/v1/tasks/")[task_id]
    assert (listed["success"], listed["error"], "completion_time" in listed) == (False, "Task cancelled by user", False)
    assert listed["message"]["prompt"] == "a cat"
    single.release()
    single.finish()
    assert word(single, after) == "completed"
    assert refusal(single, task_id=task_id) == (400, f"Task ID {task_id} already exists")
    assert single.delete(STOP).get_json()["stop_status"] == "do_nothing"


def test_an_accepted_task_is_stopped_in_any_stage(single: Service) -> None:
    task_id = create(single)["task_id"]
    answer = single.get("/v1/local/video/generate/stop_running_task").get_json()
    assert (answer["stop_status"], answer["cancelled"]) == ("success", [task_id])
    assert word(single, task_id) == "failed"
    assert single.get("/v1/local/video/generate/stop_running_task").get_json()["stop_status"] == "do_nothing"


def test_only_one_of_many_at_once_is_accepted(single: Service) -> None:
    codes: list[int] = []

    def submit() -> None:
        codes.append(single.app.test_client().post("/v1/tasks/", json={"prompt": "a cat"}).status_code)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200] + [400] * 7


def test_check_status_reads_three_json_bodies(single: Service) -> None:
    for path in ("/v1/service/status", "/v1/tasks/", "/v1/tasks/test_task_001/status"):
        assert isinstance(single.json(path), dict)
    assert single.json("/v1/tasks/test_task_001/status") == {"status": "not_found", "task_id": "test_task_001"}


def test_a_native_job_queues_while_a_task_runs(single: Service) -> None:
    create(single)
    assert single.job(single.submit())["state"] == "queued"


def test_each_service_keeps_to_its_slot(services: Callable[..., Service]) -> None:
    both = [services(LIGHTX2V_PROFILE="single", SERVICE_SLOT=slot) for slot in ("gpu0", "gpu1")]
    for slot in ("gpu0", "gpu1"):
        both[0].open(slot)
    tasks = [create(service)["task_id"] for service in both]
    slots = [service.json(f"/v1/tasks/{task}/status")["slot"] for service, task in zip(both, tasks, strict=True)]
    assert slots == ["gpu0", "gpu1"]
    assert [service.json("/v1/service/status")["task_id"] for service in both] == tasks
    assert both[0].delete(STOP).get_json()["cancelled"] == tasks[:1]
    assert [is_idle(service) for service in both] == [True, False]
    assert both[1].delete(STOP).get_json()["cancelled"] == tasks[1:]
    assert [list(service.json("/v1/tasks/")) for service in both] == [tasks[:1], tasks[1:]]
    assert refusal(both[0], slot="gpu1")[0] == 422
    assert [slot["name"] for slot in both[0].json("/v1/fleet")["slots"]] == ["gpu0"]
