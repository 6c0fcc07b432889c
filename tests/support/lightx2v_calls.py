"""Tasks over the protocol of LightX2V."""

from __future__ import annotations

from typing import Any

from tests.support.pictures import PNG, b64
from tests.support.service import Service

MP4 = b"\0\0\0\x18ftypmp42" + bytes(range(100))
IMAGE = b64(PNG)


def create(service: Service, path: str = "/v1/tasks/video/", **fields: Any) -> dict[str, Any]:
    """Create a task; return the response's body."""
    response = service.post(path, json={"prompt": "a red circle", **fields})
    assert response.status_code == 200, response.text
    return dict(response.get_json())


def status(service: Service, task_id: str) -> dict[str, Any]:
    return dict(service.json(f"/v1/tasks/{task_id}/status"))


def finish(service: Service) -> str:
    """Compute and store the slot's video."""
    return service.finish(content=MP4, media_type="video/mp4", suffix="mp4")
