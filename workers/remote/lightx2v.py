"""Executor for a LightX2V server (or another Framemill).

Two generations of servers exist. The older one runs one task at a time and takes images as uploads only; the newer one
has a queue, takes base64, and stops tasks by id. The response of the queue's status route tells which one it is.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.errors import BackendFailed
from jobs.models.backends import Backend
from jobs.requests.generation import GenerationRequest
from workers.remote.base import BackendAway, BackendBusy, RemoteFile, RemoteProgress, TaskGone
from workers.remote.pace import Pace
from workers.remote.pictures import keep_download
from workers.remote.server import Server, detail

#: Fields of a request that change the picture and that the server does not have.
_UNSUPPORTED = ("variation", "hires", "prior", "controls", "passed_images")
#: Input → the field that has its content.
_INPUTS = {"image": "image_path", "images": "image_path", "last_image": "last_frame_path", "video": "video_path",
           "audio": "audio_path"}  # fmt: skip


class LightX2VExecutor:
    """See :class:`workers.remote.base.RemoteExecutor`."""

    tells_progress = False

    def __init__(self, backend: Backend, namespace: str) -> None:
        self._server = Server(backend)
        self._backend = backend
        self._namespace = namespace
        self._task_id = ""
        self._queues = False
        self._pace = Pace()

    def health(self) -> str | None:
        status, body = self._server.call("GET", "/v1/service/status")
        if status != 200 or body.get("service_status") not in ("idle", "busy"):
            return f"answers {status} to GET /v1/service/status, which a LightX2V server would not"
        running = str(body.get("current_task") or body.get("task_id") or "")
        if running.startswith(self._namespace):
            self._task_id, self._queues = running, self._has_queue()
            self.stop()
            return "still runs a task that was given up here"
        if body["service_status"] == "busy" or body.get("pending_tasks"):
            return "works for another client"
        return None

    def submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        if unsupported := [name for name in _UNSUPPORTED if getattr(request, name)]:
            raise BackendFailed(f"a LightX2V server cannot do this: {', '.join(unsupported)}")
        self._task_id = f"{self._namespace}-{run_id}"
        self._queues = self._has_queue()
        status, body = self._send(request, inputs)
        if status in (429, 503) or (status == 400 and "busy" in detail(body).lower()):
            raise BackendBusy(f"refuses the job: {detail(body)}")
        if status in (401, 403):
            raise BackendAway(f"refuses access with {status}: check credentials_env")
        if status != 200 or not body.get("task_id"):
            raise BackendFailed(f"the back end refuses the job ({status}): {detail(body)}")
        self._task_id = str(body["task_id"])
        self._pace = Pace()

    def wait(self, seconds: float) -> bool:
        return self._pace.wait(seconds)

    def poll(self, *, preview: bool = False) -> RemoteProgress:
        try:
            return self._status()
        finally:
            self._pace.plan()

    def _status(self) -> RemoteProgress:
        status, body = self._server.call("GET", f"/v1/tasks/{self._task_id}/status")
        state = body.get("status") if status == 200 else "not_found"
        if state == "completed":
            return RemoteProgress(done=True)
        if state in ("pending", "processing"):
            step, steps = body.get("step"), body.get("steps")
            return RemoteProgress(
                step=step if isinstance(step, int) else None, steps=steps if isinstance(steps, int) else None
            )
        if state == "not_found":  # a restart loses all tasks
            raise TaskGone("has lost the task")
        raise BackendFailed(f"the back end reports {state}: {body.get('error') or 'no reason given'}"[:500])

    def stop(self) -> None:
        path = f"/v1/tasks/{self._task_id}" if self._queues else "/v1/tasks/running"
        self._server.call("DELETE", path)

    def fetch(self, folder: Path) -> list[RemoteFile]:
        part = folder / "0.part"
        declared = self._server.download(f"/v1/tasks/{self._task_id}/result", part)
        return [keep_download(part, declared)]

    def close(self) -> None:
        self._server.close()

    def _send(self, request: GenerationRequest, inputs: Mapping[str, bytes]) -> tuple[int, Any]:
        path = "/v1/tasks/" if request.kind.is_video else "/v1/tasks/image/"
        fields = self._fields(request)
        image = inputs.get(request.image or "")
        if self._queues:
            for name, key in request.named_inputs.items():
                if field := _INPUTS.get(name.partition("-")[0]):
                    text = base64.b64encode(inputs[key]).decode("ascii")
                    fields[field] = f"{fields[field]},{text}" if fields.get(field) else text
            return self._server.call("POST", path, json=fields)
        if request.version > 1:
            raise BackendFailed("a LightX2V server of the older generation takes one image and no other files")
        if image is None:
            return self._server.call("POST", path, json=fields)
        del fields["task_id"]  # the form has no such part, and the response contains an id of the server's choice
        files = {"image_file": ("image." + str(request.image).rpartition(".")[2], image)}
        return self._server.call("POST", "/v1/tasks/form", data=fields, files=files)

    def _has_queue(self) -> bool:
        # The older server reads "queue" as the id of a task.
        status, body = self._server.call("GET", "/v1/tasks/queue/status")
        return status == 200 and "is_processing" in body

    def _fields(self, request: GenerationRequest) -> dict[str, Any]:
        name = f"{self._task_id}.{'mp4' if request.kind.is_video else 'png'}"
        fields: dict[str, Any] = {
            "task_id": self._task_id,
            "prompt": request.prompt,
            "negative_prompt": request.negative_prompt,
            "image_path": "",
            "save_video_path": name,
            "infer_steps": request.steps,
            "seed": request.seed % 2**32,
        }
        if self._queues:
            fields |= {"save_result_path": name, "target_shape": [request.height, request.width]}
            if request.strength is not None:
                fields["i2i_denoise_strength"] = request.strength
        if request.kind.is_video:
            fields["target_video_length"] = request.frames
            if self._queues:
                fields["target_fps"] = int(request.fps)
        if name_there := self._backend.models.get(request.model):
            fields["model"] = name_there  # another Framemill has several models
        return fields

