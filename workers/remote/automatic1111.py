"""Executor for AUTOMATIC1111's web UI.

Its POST blocks until the images are done, behind all other requests in one queue. Progress and interrupt concern
whichever job runs there, so the executor looks up its own job by id before it uses either. Versions before 1.8, and
instances without the web page, do not tell whose job runs.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from jobs.errors import BackendFailed
from jobs.models.backends import Backend
from jobs.requests.generation import GenerationRequest
from workers.remote import a1111_body, posting
from workers.remote.base import BackendBusy, HandBack, RemoteFile, RemoteProgress
from workers.remote.pictures import write_result
from workers.remote.posting import PendingPost, PostResponse
from workers.remote.responses import json_of
from workers.remote.server import Server

_PROGRESS = "/sdapi/v1/progress"
#: Longest wait for a stopped job to return, and pause between two checks, seconds.
STOP_PATIENCE_S, STOP_POLL_S = 20.0, 0.5
#: Shortest time between two fetched previews, seconds; each is a whole file in base64.
PREVIEW_PAUSE_S = 1.0


class TaskState(StrEnum):
    """The state of the executor's job on the server."""

    ACTIVE = "active"
    QUEUED = "queued"
    #: It has not arrived yet, or is over.
    ABSENT = "absent"
    #: The server does not tell.
    UNKNOWN = "unknown"


class Automatic1111Executor:
    """See :class:`workers.remote.base.RemoteExecutor`."""

    tells_progress = True

    def __init__(self, backend: Backend, namespace: str) -> None:
        self._backend = backend
        self._server = Server(backend, backend.endpoint.removesuffix("/sdapi/v1"))
        #: The same for every job: there is one at a time, and a later process must find what an earlier one left there.
        self._task_id = namespace
        self._post: PendingPost | None = None
        self._response: PostResponse | None = None
        self._num_images = 1
        self._is_active = False
        self._shown = ""
        self._next_preview_at = 0.0

    def health(self) -> str | None:
        status, body = self._server.call("GET", _PROGRESS, params={"skip_current_image": True})
        state = body.get("state") if isinstance(body, dict) else None
        if status != 200 or not isinstance(state, dict):
            return self._root_health(status)
        if not state.get("job_count") and not state.get("job"):
            return None
        task_state = self._task_state()
        if task_state is TaskState.ACTIVE:
            self._interrupt()
        if task_state in (TaskState.ACTIVE, TaskState.QUEUED):
            return "still runs a job that was given up here"
        return "works for another client"

    def submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        if why := self.health():
            raise BackendBusy(why)
        checkpoint, controls = self._backend.models.get(request.model, ""), self._backend.controls
        body = a1111_body.body_of(request, inputs, checkpoint, self._task_id, controls)
        self._num_images = request.num_images
        self._post = self._server.post(a1111_body.path_of(request), json=body)

    def wait(self, seconds: float) -> bool:
        assert self._post is not None
        return self._post.wait(seconds)

    def poll(self, *, preview: bool = False) -> RemoteProgress:
        assert self._post is not None
        self._response = self._post.response()
        if self._response is not None:
            return RemoteProgress(done=True)
        self._is_active = self._is_active or self._task_state() in (TaskState.ACTIVE, TaskState.UNKNOWN)
        if not self._is_active:
            return RemoteProgress()
        preview = preview and time.monotonic() >= self._next_preview_at
        if preview:
            self._next_preview_at = time.monotonic() + PREVIEW_PAUSE_S
        try:
            _, body = self._server.call("GET", _PROGRESS, params={"skip_current_image": not preview})
        except BackendFailed:  # the picture is too large for a preview
            self._next_preview_at = math.inf
            return RemoteProgress()
        return self._progress(body if isinstance(body, dict) else {})

    def stop(self) -> None:
        deadline = time.monotonic() + STOP_PATIENCE_S
        # Repeated, because the server forgets an interrupt that arrives before the job has really begun.
        while self._post is not None and not self._post.wait(0) and time.monotonic() < deadline:
            if self._task_state() in (TaskState.ACTIVE, TaskState.UNKNOWN):
                self._interrupt()
            self._post.wait(STOP_POLL_S)

    def fetch(self, folder: Path) -> list[RemoteFile]:
        assert self._response is not None
        posting.check(self._response, self._backend.name)
        body = json_of(self._response.content)
        images = body.get("images") if isinstance(body, dict) else None
        if not isinstance(images, list) or len(images) < self._num_images:
            raise self._bad_result(f"{len(images)} of {self._num_images} images" if images else "no images")
        info = json_of(str(body.get("info") or "").encode())
        first = info.get("index_of_first_image") if isinstance(info, dict) else None
        first = first if isinstance(first, int) and 0 <= first <= len(images) - self._num_images else 0  # after a grid
        return [self._file(folder, index, images[first + index]) for index in range(self._num_images)]

    def close(self) -> None:
        if self._post is not None:
            self._post.abort()
        self._server.close()

    def _root_health(self, status: int) -> str | None:
        """Return the health of a server that reports no progress, by the test that Devoid Generator uses."""
        if status in (401, 403):
            return f"refuses access with {status}: check credentials_env"
        _, body = self._server.call("GET", "/")
        if body == {"detail": "Not Found"}:
            return None
        return f"answers {status} to GET {_PROGRESS}, which AUTOMATIC1111 would not"

    def _task_state(self) -> TaskState:
        query = {"id_task": self._task_id, "id_live_preview": -1, "live_preview": False}
        status, body = self._server.call("POST", "/internal/progress", json=query)
        if status != 200 or not isinstance(body, dict):
            return TaskState.UNKNOWN
        for task_state in (TaskState.ACTIVE, TaskState.QUEUED):
            if body.get(task_state):
                return task_state
        # Older versions have this route but ignore the job's id; the next route came with the field for the id.
        names_jobs = self._server.call("GET", "/internal/pending-tasks")[0] == 200
        return TaskState.ABSENT if names_jobs else TaskState.UNKNOWN

    def _interrupt(self) -> None:
        self._server.call("POST", "/sdapi/v1/interrupt")

    def _progress(self, body: Mapping[str, Any]) -> RemoteProgress:
        """Count the steps of all batches and passes together."""
        image, preview = body.get("current_image"), None
        if isinstance(image, str) and image not in ("", self._shown):
            preview = self._shown = image
        state = body.get("state")
        names = ("job_no", "job_count", "sampling_step", "sampling_steps")
        values: list[Any] = [state.get(name) for name in names] if isinstance(state, dict) else []
        if not values or not all(isinstance(value, int) for value in values) or values[1] < 1 or values[3] < 1:
            return RemoteProgress(preview=preview)
        done, passes, step, steps = values
        return RemoteProgress(step=min(done * steps + step, passes * steps), steps=passes * steps, preview=preview)

    def _file(self, folder: Path, index: int, image: Any) -> RemoteFile:
        try:
            content = base64.b64decode(str(image).partition(",")[2] or str(image), validate=True)
        except binascii.Error as exc:
            raise self._bad_result("a picture that is not base64") from exc
        return write_result(content, folder, index, self._backend.name)

    def _bad_result(self, what: str) -> HandBack:
        return HandBack(f"{self._backend.name} sent {what} as its result", counted=True)
