"""The routes of LightX2V's first server, as its scheduler script of that time calls them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.service import Service

PATH = "/v1/local/video/generate"
TASK = {
    "task_id": "N1PQ-PRM5-N1BN-Z3S1-BGBJ", "task_id_must_unique": True, "prompt": "two cats", "negative_prompt": "blur",
    "image_path": "", "save_video_path": "./t01.mp4",
}  # fmt: skip


@pytest.fixture(params=["queue", "single"])
def first(request: pytest.FixtureRequest, services: Callable[..., Service]) -> Service:
    service = services(LIGHTX2V_PROFILE=request.param)
    service.open()
    return service


def state(service: Service, task_id: str) -> dict[str, Any]:
    response = service.post(f"{PATH}/task_status", json={"task_id": task_id})
    assert response.status_code == 200
    return dict(response.get_json())


def test_a_task_from_the_post_to_its_end(first: Service) -> None:
    assert first.json(f"{PATH}/service_status")["service_status"] == "idle"
    created = first.post(PATH, json=TASK)
    assert created.status_code == 200
    task = created.get_json()
    assert (task["task_id"], task["task_status"], task["save_video_path"]) == (TASK["task_id"], "processing", "t01.mp4")
    assert task["warnings"] == []
    busy = first.json(f"{PATH}/service_status")
    assert (busy["service_status"], busy["task_id"]) == ("busy", TASK["task_id"])
    assert state(first, str(TASK["task_id"])) == {"task_status": "processing"}
    assert first.json(f"{PATH}/get_all_tasks") == {}
    first.finish()
    ended = state(first, str(TASK["task_id"]))
    assert (ended["task_status"], ended["success"], ended["message"]["prompt"]) == ("completed", True, "two cats")
    assert list(first.json(f"{PATH}/get_all_tasks")) == [TASK["task_id"]]
    assert first.json(f"{PATH}/service_status")["service_status"] == "idle"


def test_a_stopped_task_is_completed_without_success(first: Service) -> None:
    first.post(PATH, json=TASK)
    first.start()
    stopped = first.json(f"{PATH}/stop_running_task")
    assert (stopped["stop_status"], stopped["cancelled"]) == ("success", [TASK["task_id"]])
    ended = state(first, str(TASK["task_id"]))
    assert (ended["task_status"], ended["success"]) == ("completed", False)
    assert ended["error"]


def test_what_is_refused(services: Callable[..., Service]) -> None:
    service = services(LIGHTX2V_PROFILE="single")
    service.open()
    assert state(service, "UNKNOWN") == {"task_status": "not_found"}
    assert service.post(f"{PATH}/task_status", json={}).status_code == 422
    assert service.post(PATH, json={**TASK, "infer_steps": 0}).status_code == 422
    service.post(PATH, json=TASK)
    busy = service.post(PATH, json={**TASK, "task_id": "OTHER"})
    assert (busy.status_code, busy.get_json()) == (200, {"error": "Service busy"})
    service.finish()
    again = service.post(PATH, json={**TASK, "task_id_must_unique": False})
    assert (again.status_code, again.get_json()) == (200, {"error": f"Task ID {TASK['task_id']} already exists"})
