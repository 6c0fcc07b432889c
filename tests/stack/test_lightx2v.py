"""LightX2V's protocol on a running service; ``tests/http/test_lightx2v.py`` tests its routes."""

from __future__ import annotations

import io
from typing import Any

import pytest
import requests
from PIL import Image

from tests.support.harness import ENDLESS_STEPS, Stack, wait_for


def png(colour: str = "red", side: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


def call(stack: Stack, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, stack.url(path), timeout=60, allow_redirects=False, **options)


def finish(stack: Stack, task_id: str) -> dict[str, Any]:
    """Poll like LightX2V's clients; return the final status."""

    def look() -> Any:
        body = stack.get(f"/v1/tasks/{task_id}/status").json()
        return body if body["status"] in ("completed", "failed", "cancelled") else None

    return dict(wait_for(look, f"the end of {task_id}"))


def test_a_video_from_text(stack: Stack) -> None:
    sent = {"prompt": "a cat", "negative_prompt": "blur", "image_path": "", "infer_steps": "3", "seed": 42,
            "target_video_length": 9, "save_result_path": "./cats/boxing.mp4"}  # fmt: skip
    created = call(stack, "POST", "/v1/tasks/video/", json=sent)
    assert created.status_code == 200, created.text
    body = created.json()
    assert body["task_status"] == "pending"
    assert body["save_result_path"] == body["save_video_path"]
    ended = finish(stack, body["task_id"])
    assert (ended["status"], ended["success"], ended["error"], ended["error_type"]) == ("completed", True, None, "")
    for name in ("start_time", "end_time", "completion_time"):
        assert len(ended[name]) == len("2026-01-01T00:00:00.000000"), name
    assert ended["save_result_path"] == body["save_result_path"]
    request = ended["request"]
    assert (request["kind"], request["steps"], request["seed"], request["frames"]) == ("text2video", 3, 42, 9)
    result = stack.get(f"/v1/tasks/{body['task_id']}/result")
    assert result.content[4:8] == b"ftyp"
    assert result.headers["Content-Type"] == "video/mp4"
    name = body["save_result_path"].rpartition("/")[2]
    assert result.headers["Content-Disposition"] == f"attachment; filename={name}"
    file = stack.get(f"/v1/files/download/{body['save_result_path']}", headers={"Range": "bytes=0-9"})
    assert (file.status_code, file.content) == (206, result.content[:10])


def test_a_client_that_hangs_up_stops_its_image(stack: Stack) -> None:
    sent = {"prompt": "a cat", "infer_steps": ENDLESS_STEPS, "task_id": "hung-up"}
    with pytest.raises(requests.ReadTimeout):
        requests.post(stack.url("/v1/tasks/image/sync"), json=sent, timeout=1)
    assert finish(stack, "hung-up")["status"] == "cancelled"
