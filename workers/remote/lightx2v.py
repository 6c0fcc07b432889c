"""A LightX2V server (or another Framemill) as a back end.

Two generations differ: the older one runs one task at a time and knows images as uploads only; the newer one has a
queue, takes base64, and stops tasks by id. The answer of the queue's status route tells which one it is.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.errors import BackendFailed
from jobs.models.backends import Backend
from jobs.requests.generation import GenerationRequest
from workers.remote import BackendAway, BackendBusy, Progress, RemoteFile, TaskGone
from workers.remote.answers import ENDINGS, media_type_of
from workers.remote.http import Server, detail

#: Fields of a request that change the picture and have no counterpart there.
_UNKNOWN = ("variation", "hires", "prior")


class Executor:
    """See :class:`workers.remote.RemoteExecutor`."""

    def __init__(self, backend: Backend, namespace: str) -> None:
        self._server = Server(backend)
        self._backend = backend
        self._namespace = namespace
        self._task_id = ""
        self._queues = False

    def health(self) -> str | None:
        status, body = self._server.call("GET", "/v1/service/status")
        if status != 200 or body.get("service_status") not in ("idle", "busy"):
            return f"answers {status} to GET /v1/service/status, which a LightX2V server would not"
        running = str(body.get("current_task") or body.get("task_id") or "")
        if running.startswith(self._namespace):
            self._task_id, self._queues = running, self._has_queue()
            self.stop()
            return "still runs a task of ours that was given up"
        if body["service_status"] == "busy" or body.get("pending_tasks"):
            return "works for somebody else"
        return None

    def submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        if unknown := [name for name in _UNKNOWN if getattr(request, name)]:
            raise BackendFailed(f"a LightX2V server cannot do this: {', '.join(unknown)}")
        self._task_id = f"{self._namespace}-{run_id}"
        self._queues = self._has_queue()
        fields = self._fields(request)
        image = inputs.get(request.image or "")
        if image is None:
            status, body = self._server.call("POST", self._path(request), json=fields)
        elif self._queues:
            fields["image_path"] = base64.b64encode(image).decode("ascii")
            status, body = self._server.call("POST", self._path(request), json=fields)
        else:
            del fields["task_id"]  # the form has no such part, and answers with an id of its own
            files = {"image_file": ("image." + str(request.image).rpartition(".")[2], image)}
            status, body = self._server.call("POST", "/v1/tasks/form", data=fields, files=files)
        if status in (429, 503) or (status == 400 and "busy" in detail(body).lower()):
            raise BackendBusy(f"refuses the job: {detail(body)}")
        if status in (401, 403):
            raise BackendAway(f"refuses us with {status}: check credentials_env")
        if status != 200 or not body.get("task_id"):
            raise BackendFailed(f"the back end refuses the job ({status}): {detail(body)}")
        self._task_id = str(body["task_id"])

    def poll(self, *, preview: bool = False) -> Progress:
        status, body = self._server.call("GET", f"/v1/tasks/{self._task_id}/status")
        word = body.get("status") if status == 200 else "not_found"
        if word == "completed":
            return Progress(done=True)
        if word in ("pending", "processing"):
            step, steps = body.get("step"), body.get("steps")
            return Progress(
                step=step if isinstance(step, int) else None, steps=steps if isinstance(steps, int) else None
            )
        if word == "not_found":  # it forgets everything when it is started again
            raise TaskGone("has lost the task")
        raise BackendFailed(f"the back end reports {word}: {body.get('error') or 'no reason given'}"[:500])

    def stop(self) -> None:
        path = f"/v1/tasks/{self._task_id}" if self._queues else "/v1/tasks/running"
        self._server.call("DELETE", path)

    def fetch(self, folder: Path) -> list[RemoteFile]:
        part = folder / "0.part"
        named = self._server.download(f"/v1/tasks/{self._task_id}/result", part)
        media_type = _recognised(part, named)
        path = part.rename(folder / f"0.{ENDINGS[media_type]}")
        return [RemoteFile(path, media_type)]

    def close(self) -> None:
        self._server.close()

    def _has_queue(self) -> bool:
        # The older server takes "queue" for the id of a task.
        status, body = self._server.call("GET", "/v1/tasks/queue/status")
        return status == 200 and "is_processing" in body

    @staticmethod
    def _path(request: GenerationRequest) -> str:
        return "/v1/tasks/" if request.kind.is_video else "/v1/tasks/image/"

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
        if own := self._backend.models.get(request.model):
            fields["model"] = own  # another Framemill has several
        return fields


def _recognised(path: Path, named: str) -> str:
    """The media type by content; older servers call every picture image/jpeg. Raises: BackendFailed."""
    with path.open("rb") as file:
        found = media_type_of(file.read(12))
    if not found:
        raise BackendFailed(f"the back end sent {named or 'something'} that is neither MP4 nor PNG, JPEG or WebP")
    return found
