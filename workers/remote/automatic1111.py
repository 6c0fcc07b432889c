"""AUTOMATIC1111's web UI as a back end.

Its POST blocks until the images are done, behind all others in one queue. Progress and interrupt concern whatever
runs there, so ours is looked for by its id before either is used. Versions before 1.8, and instances without their
page, do not tell whose job runs.
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
from workers.remote import BackendBusy, HandBack, Progress, RemoteFile, a1111_body, posting
from workers.remote.answers import json_of
from workers.remote.http import Server
from workers.remote.posting import Answer, Posting

_PROGRESS = "/sdapi/v1/progress"
#: Longest wait for a stopped job to come back, seconds, and pause between two looks at it.
STOP_PATIENCE_S, STOP_LOOK_S = 20.0, 0.5
#: A picture so far is fetched at most this often, seconds; it is a whole file in base64.
PREVIEW_PAUSE_S = 1.0


class Place(StrEnum):
    """Where our job is there."""

    ACTIVE = "active"
    QUEUED = "queued"
    #: It did not arrive yet, or is over.
    GONE = "gone"
    #: The server does not say.
    UNTOLD = "untold"


class Executor:
    """See :class:`workers.remote.RemoteExecutor`."""

    def __init__(self, backend: Backend, namespace: str) -> None:
        self._backend = backend
        self._server = Server(backend, backend.endpoint.removesuffix("/sdapi/v1"))
        #: Of every job: there is one at a time, and a later process must find what an earlier one left behind.
        self._task_id = namespace
        self._posting: Posting | None = None
        self._answer: Answer | None = None
        self._wanted = 1
        self._is_active = False
        self._shown = ""
        self._next_preview_at = 0.0

    def health(self) -> str | None:
        status, body = self._server.call("GET", _PROGRESS, params={"skip_current_image": True})
        state = body.get("state") if isinstance(body, dict) else None
        if status != 200 or not isinstance(state, dict):
            return self._root(status)
        if not state.get("job_count") and not state.get("job"):
            return None
        place = self._place()
        if place is Place.ACTIVE:
            self._interrupt()
        return "still runs a job of ours that was given up" if place in ("active", "queued") else (
            "works for somebody else"
        )  # fmt: skip

    def submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        if why := self.health():
            raise BackendBusy(why)
        checkpoint = self._backend.models.get(request.model, "")
        body = a1111_body.body_of(request, inputs, checkpoint, self._task_id)
        self._wanted = request.num_images
        self._posting = self._server.post(a1111_body.path_of(request), body)

    def poll(self, *, preview: bool = False) -> Progress:
        assert self._posting is not None
        self._answer = self._posting.answer()
        if self._answer is not None:
            return Progress(done=True)
        self._is_active = self._is_active or self._place() in (Place.ACTIVE, Place.UNTOLD)
        if not self._is_active:
            return Progress()
        preview = preview and time.monotonic() >= self._next_preview_at
        if preview:
            self._next_preview_at = time.monotonic() + PREVIEW_PAUSE_S
        try:
            _, body = self._server.call("GET", _PROGRESS, params={"skip_current_image": not preview})
        except BackendFailed:  # a picture that is too large to be looked at on the way
            self._next_preview_at = math.inf
            return Progress()
        return self._progress(body if isinstance(body, dict) else {})

    def stop(self) -> None:
        deadline = time.monotonic() + STOP_PATIENCE_S
        # Again and again: an interrupt before the job has really begun is forgotten there.
        while self._posting is not None and not self._posting.wait(0) and time.monotonic() < deadline:
            if self._place() in (Place.ACTIVE, Place.UNTOLD):
                self._interrupt()
            self._posting.wait(STOP_LOOK_S)

    def fetch(self, folder: Path) -> list[RemoteFile]:
        assert self._answer is not None
        posting.check(self._answer, self._backend.name)
        body = json_of(self._answer.content)
        images = body.get("images") if isinstance(body, dict) else None
        if not isinstance(images, list) or len(images) < self._wanted:
            raise self._wrong(f"{len(images)} of {self._wanted} images" if images else "no images")
        info = json_of(str(body.get("info") or "").encode())
        first = info.get("index_of_first_image") if isinstance(info, dict) else None
        first = first if isinstance(first, int) and 0 <= first <= len(images) - self._wanted else 0  # after a grid
        return [self._file(folder, index, images[first + index]) for index in range(self._wanted)]

    def close(self) -> None:
        if self._posting is not None:
            self._posting.abandon()
        self._server.close()

    def _root(self, status: int) -> str | None:
        """Whether it is alive by Devoid Generator's own test, though it tells no progress."""
        if status in (401, 403):
            return f"refuses us with {status}: check credentials_env"
        _, body = self._server.call("GET", "/")
        return None if body == {"detail": "Not Found"} else (
            f"answers {status} to GET {_PROGRESS}, which AUTOMATIC1111 would not"
        )  # fmt: skip

    def _place(self) -> Place:
        wanted = {"id_task": self._task_id, "id_live_preview": -1, "live_preview": False}
        status, body = self._server.call("POST", "/internal/progress", json=wanted)
        if status != 200 or not isinstance(body, dict):
            return Place.UNTOLD
        for place in (Place.ACTIVE, Place.QUEUED):
            if body.get(place):
                return place
        # This route is older than the field that names our job; the other one is as old as that.
        return Place.GONE if self._server.call("GET", "/internal/pending-tasks")[0] == 200 else Place.UNTOLD

    def _interrupt(self) -> None:
        self._server.call("POST", "/sdapi/v1/interrupt")

    def _progress(self, body: Mapping[str, Any]) -> Progress:
        """Steps of all batches and passes as one count."""
        image, preview = body.get("current_image"), None
        if isinstance(image, str) and image not in ("", self._shown):
            preview = self._shown = image
        state = body.get("state")
        names = ("job_no", "job_count", "sampling_step", "sampling_steps")
        values: list[Any] = [state.get(name) for name in names] if isinstance(state, dict) else []
        if not values or not all(isinstance(value, int) for value in values) or values[1] < 1 or values[3] < 1:
            return Progress(preview=preview)
        done, passes, step, steps = values
        return Progress(step=min(done * steps + step, passes * steps), steps=passes * steps, preview=preview)

    def _file(self, folder: Path, index: int, image: Any) -> RemoteFile:
        try:
            content = base64.b64decode(str(image).partition(",")[2] or str(image), validate=True)
        except binascii.Error as exc:
            raise self._wrong("something that is not base64") from exc
        return posting.picture(content, folder, index, self._backend.name)

    def _wrong(self, what: str) -> HandBack:
        return HandBack(f"{self._backend.name} sent {what} as its result", counted=True)
