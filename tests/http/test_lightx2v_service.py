"""LightX2V's protocol: images at once, stops, the queue, lists, errors and limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.bodies.json_output import json_body
from app.protocols.lightx2v.states import QUEUE_WORDS, SINGLE_WORDS
from jobs.states import JobState
from tests.support.lightx2v_calls import create, finish, status
from tests.support.pictures import PNG
from tests.support.service import Service, key, later


def test_an_image_in_a_shape(service: Service) -> None:
    task = create(service, "/v1/tasks/image/", prompt="x", aspect_ratio="4:1")
    request = status(service, task["task_id"])["request"]
    assert (request["kind"], request["width"], request["height"]) == ("text2img", 64, 16)


def test_an_image_at_once(service: Service) -> None:
    with later(service.finish):
        answer = service.post("/v1/tasks/image/sync?timeout_seconds=50", json={"prompt": "x"})
    assert (answer.status_code, answer.headers["Content-Type"], answer.data) == (200, "image/png", PNG)
    assert answer.headers["Content-Disposition"] == 'inline; filename="result.png"'
    assert status(service, answer.headers["X-Task-Id"])["status"] == "completed"


def test_an_image_that_is_not_done_in_time_is_stopped(service: Service) -> None:
    answer = service.post("/v1/tasks/image/sync?timeout_seconds=0.2", json={"prompt": "x", "task_id": "too-slow"})
    assert (answer.status_code, "too-slow" in answer.get_json()["detail"]) == (504, True)
    assert status(service, "too-slow")["status"] == "cancelled"
    assert service.post("/v1/tasks/image/sync?timeout_seconds=soon", json={}).status_code == 422
    assert service.post("/v1/tasks/image/sync?poll_interval_seconds=0", json={}).status_code == 422


def test_an_image_that_fails_or_is_cancelled_says_so(service: Service) -> None:
    with later(service.fail, code="out_of_memory", message="too large"):
        failed = service.post("/v1/tasks/image/sync", json={"prompt": "x"})
    assert (failed.status_code, failed.get_json()["error"]["code"]) == (500, "out_of_memory")
    with later(service.cancel, "mine"):
        cancelled = service.post("/v1/tasks/image/sync", json={"prompt": "x", "task_id": "mine"})
    assert (cancelled.status_code, cancelled.get_json()["detail"]) == (409, "Task cancelled")


def test_every_state_has_a_word() -> None:
    assert set(QUEUE_WORDS) == set(SINGLE_WORDS) == set(JobState)


def test_a_task_is_stopped_by_its_id(service: Service) -> None:
    task_id = create(service)["task_id"]
    service.start(step=1)
    stopped = service.delete(f"/v1/tasks/{task_id}").get_json()
    assert stopped == {
        "task_id": task_id, "state": "cancelled", "changed": True, "stop_status": "success",
        "reason": "Task stopped successfully.",
    }  # fmt: skip
    ended = status(service, task_id)
    assert (ended["status"], ended["error"], ended["success"]) == ("cancelled", "Task cancelled by user", False)
    again = service.delete(f"/v1/tasks/{task_id}").get_json()
    assert (again["stop_status"], again["reason"]) == ("do_nothing", "The task has already finished.")
    assert service.delete("/v1/tasks/nothing").status_code == 404


@pytest.mark.parametrize("path", ["/v1/tasks/running", "/v1/local/video/generate/stop_running_task"])
def test_what_runs_is_stopped(service: Service, path: str) -> None:
    def stop() -> dict[str, Any]:
        return dict((service.get if "local" in path else service.delete)(path).get_json())

    running = create(service, "/v1/tasks/")["task_id"]
    service.start(step=1)
    waiting = create(service)["task_id"]
    assert stop() == {"stop_status": "success", "reason": "Task stopped successfully.", "cancelled": [running]}
    # Clients of this route do not know "cancelled": they would wait for ever.
    assert status(service, running)["status"] == "failed"
    assert status(service, waiting)["status"] == "pending"
    assert stop() == {"stop_status": "do_nothing", "reason": "No running task found.", "cancelled": []}


def test_everything_is_stopped(service: Service) -> None:
    ids = [create(service)["task_id"] for _ in "ab"]
    stopped = service.delete("/v1/tasks/all/running").get_json()
    assert (stopped["reason"], sorted(stopped["cancelled"])) == ("All tasks stopped successfully.", sorted(ids))
    assert service.delete("/v1/tasks/all/running").get_json()["stop_status"] == "success"


def test_service_and_queue_tell_what_they_do(service: Service) -> None:
    idle = {
        "service_status": "idle", "task_id": None, "start_time": None, "current_task": None, "active_tasks": [],
        "pending_tasks": 0, "queue_size": service.settings.scheduling.max_waiting, "total_tasks": 0,
        "completed_tasks": 0, "failed_tasks": 0,
    }  # fmt: skip
    assert service.json("/v1/service/status") == idle
    running = create(service)["task_id"]
    busy = service.json("/v1/service/status")
    assert (busy["service_status"], busy["task_id"], busy["current_task"]) == ("busy", running, running)
    assert (busy["active_tasks"], busy["total_tasks"], len(busy["start_time"])) == ([running], 1, 26)
    create(service)
    assert service.json("/v1/service/status")["pending_tasks"] == 1
    size = service.settings.scheduling.max_waiting
    assert service.json("/v1/tasks/queue/status") == {
        "is_processing": True, "current_task": running, "pending_count": 1, "active_count": 2, "queue_size": size,
        "queue_available": size - 1,
    }  # fmt: skip
    finish(service)
    service.fail()
    ended = service.json("/v1/service/status")
    assert (ended["service_status"], ended["completed_tasks"], ended["failed_tasks"]) == ("idle", 1, 1)


def test_metadata_and_health(service: Service) -> None:
    metadata = service.json("/v1/service/metadata")
    assert (metadata["model_cls"], metadata["nproc_per_node"]) == ("tiny-video", 1)
    assert service.json("/health") == {"status": "ok"}


def test_the_list_is_keyed_by_id(service: Service) -> None:
    done = create(service, prompt="listed")["task_id"]
    finish(service)
    running = create(service, "/v1/tasks/")["task_id"]
    listed = service.json("/v1/tasks/")
    assert list(listed) == [done, running]
    assert (listed[done]["status"], listed[done]["message"]["prompt"]) == ("completed", "listed")
    assert (listed[running]["status"], listed[running]["end_time"]) == ("pending", None)
    assert listed == service.json("/v1/tasks/?limit=1")
    assert service.get("/v1/tasks/").data == json_body(listed)
    service.delete(f"/v1/tasks/{running}")  # every change is shown, although texts are kept
    assert service.json("/v1/tasks/")[running]["state"] == "cancelled"


def test_a_key_sees_its_own_tasks_only(service: Service) -> None:
    ops = key(service, "ops", role="admin")
    alice, bob = key(service, "alice", admin=ops), key(service, "bob", admin=ops)
    task_id = service.post("/v1/tasks/", json={"prompt": "x"}, headers=alice).get_json()["task_id"]
    assert list(service.json("/v1/tasks/", headers=alice)) == [task_id]
    assert service.json("/v1/tasks/", headers=bob) == {}
    assert service.get(f"/v1/tasks/{task_id}/status", headers=bob).status_code == 404
    assert service.delete(f"/v1/tasks/{task_id}", headers=bob).status_code == 404
    busy = service.json("/v1/service/status", headers=bob)
    assert (busy["service_status"], busy["task_id"], busy["active_tasks"]) == ("busy", None, [])


def test_unknown_tasks_and_results_that_are_not_there(service: Service) -> None:
    for path in ("/v1/tasks/nothing/status", "/v1/tasks/nothing/result"):
        assert service.get(path).status_code == 404
        assert isinstance(service.get(path).get_json()["detail"], str)
    task = create(service)
    result = service.get(f"/v1/tasks/{task['task_id']}/result")
    assert (result.status_code, result.get_json()["detail"]) == (404, "the job is queued: no result yet")
    assert service.get(f"/v1/files/download/{task['save_result_path']}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("GET", "/v1/nothing", 404), ("PUT", "/v1/tasks/video/", 405), ("GET", "/v1/tasks/running/nothing", 404),
     ("POST", "/v1/tasks/queue/status", 405), ("GET", "/v1/tasks/some-id", 405)],
)  # fmt: skip
def test_every_error_is_json(service: Service, method: str, path: str, code: int) -> None:
    answer = service.client.open(path, method=method)
    assert answer.status_code == code
    assert answer.get_json()["detail"]  # without a path it is a route of another protocol, whose errors have this too


def test_a_full_queue_is_503(services: Callable[..., Service]) -> None:
    service = services(MAX_WAITING=1)
    codes = [service.post("/v1/tasks/", json={"prompt": "x", "image_path": ""}).status_code for _ in range(2)]
    full = service.post("/v1/tasks/video/", json={"prompt": "x"})
    assert (codes, full.status_code) == ([200, 503], 503)
    assert full.get_json()["detail"] == "Task queue is full (max 1 tasks)"
    assert int(full.headers["Retry-After"]) > 0


def test_the_limit_that_was_reached_is_named(services: Callable[..., Service]) -> None:
    service = services(MAX_WAITING=50)
    admin = key(service, "boss", role="admin")
    few, slow = (
        key(service, name, admin=admin, **limit)
        for name, limit in (("few", {"max_waiting": 1}), ("slow", {"max_per_minute": 1}))
    )
    full = [service.post("/v1/tasks/video/", json={"prompt": "x"}, headers=few) for _ in range(2)][-1]
    assert (full.status_code, full.get_json()["detail"]) == (503, "Task queue is full (max 1 tasks)")
    fast = [service.post("/v1/tasks/video/", json={"prompt": "x"}, headers=slow) for _ in range(3)][-1]
    assert (fast.status_code, fast.get_json()["error"]["code"]) == (429, "rate_limited")
    assert "full" not in fast.get_json()["detail"]
    assert 0 < int(fast.headers["Retry-After"]) <= 60


def test_images_by_path_come_from_one_folder(services: Callable[..., Service], tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    (folder / "assets").mkdir(parents=True)
    (folder / "assets" / "a.png").write_bytes(PNG)
    (tmp_path / "inputs_evil").mkdir()
    (tmp_path / "inputs_evil" / "a.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(tmp_path / "inputs_evil" / "a.png")
    service = services(INPUT_DIR=folder)
    for path in ("assets/a.png", str(folder / "assets" / "a.png"), "./assets/../assets/a.png"):
        assert create(service, "/v1/tasks/", image_path=path)["model"] == "tiny-video"
    for path in ("../inputs_evil/a.png", str(tmp_path / "inputs_evil" / "a.png"), "link.png", "assets", "none.png"):
        refused = service.post("/v1/tasks/", json={"image_path": path})
        assert (refused.status_code, refused.get_json()["error"]["fields"][0]["field"]) == (422, "image_path"), path


def test_a_paused_task_is_being_processed(service: Service) -> None:
    task_id = create(service, infer_steps=4)["task_id"]
    service.start()
    assert service.pause() == task_id
    body = status(service, task_id)
    assert (body["status"], body["state"], body["step"], body["percent"]) == ("processing", "paused", 2, 50)
    assert (body["waiting_for"], body["end_time"], body["slot"]) == ("resume of the job", None, None)
    assert service.json("/v1/service/status")["service_status"] == "idle", "it takes other tasks"
    service.resume(task_id)
    finish(service)
    assert status(service, task_id)["status"] == "completed"
