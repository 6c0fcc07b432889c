"""Executor for servers with OpenAI's API: vLLM-Omni, SGLang, LocalAI, OpenAI itself, or another Framemill.

Images are one blocking POST, which ends with its connection if the server notices that; another Framemill is asked to.
Videos are a task that is asked for. The server tells nobody what it works on, so a video that a killed worker had begun
is computed to its end there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from jobs.errors import BackendFailed
from jobs.models.backends import Backend
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.suggestions import listed
from workers.remote import openai_fields, posting
from workers.remote.base import BackendAway, BackendBusy, HandBack, RemoteFile, RemoteProgress, TaskGone
from workers.remote.pace import Pace
from workers.remote.pictures import keep_download, write_result
from workers.remote.posting import PendingPost, PostResponse
from workers.remote.responses import json_of
from workers.remote.server import Server, detail

#: Asks a Framemill to stop the images of a request whose connection is closed; others ignore it (RFC 7240).
_HEADERS = {"Prefer": "cancel-on-disconnect"}


class _Task(Protocol):
    """What the server was asked for."""

    def wait(self, seconds: float) -> bool: ...
    def poll(self) -> RemoteProgress: ...
    def stop(self) -> None: ...
    def fetch(self, folder: Path) -> list[RemoteFile]: ...


class OpenAIExecutor:
    """See :class:`workers.remote.base.RemoteExecutor`."""

    tells_progress = False

    def __init__(self, backend: Backend, namespace: str) -> None:
        self._backend = backend
        self._server = Server(backend, backend.endpoint.removesuffix("/v1"))
        self._task: _Task | None = None

    def health(self) -> str | None:
        try:
            offered = self._offered()
            for model in self._backend.models:
                self._name_there(model, offered)
        except BackendAway as exc:
            return str(exc)
        return None

    def submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        openai_fields.check_supported(request)
        model = self._name_there(request.model, self._offered())
        task = _Video if request.kind.is_video else _Images
        self._task = task(self._server, self._backend.name, request, inputs, model)

    def wait(self, seconds: float) -> bool:
        assert self._task is not None
        return self._task.wait(seconds)

    def poll(self, *, preview: bool = False) -> RemoteProgress:
        assert self._task is not None
        return self._task.poll()

    def stop(self) -> None:
        if self._task is not None:
            self._task.stop()

    def fetch(self, folder: Path) -> list[RemoteFile]:
        assert self._task is not None
        return self._task.fetch(folder)

    def close(self) -> None:
        if isinstance(self._task, _Images):
            self._task.stop()
        self._server.close()

    def _offered(self) -> list[str]:
        """Return the models that the server lists. Raises: BackendAway: it does not list them."""
        status, body = self._server.call("GET", "/v1/models")
        if status in (401, 403):
            raise BackendAway(f"refuses access with {status}: check credentials_env")
        models = body.get("data") if isinstance(body, dict) else None
        if status != 200 or not isinstance(models, list):
            raise BackendAway(f"answers {status} to GET /v1/models, but not as an OpenAI server")
        return [str(model.get("id")) for model in models if isinstance(model, dict)]

    def _name_there(self, model: str, offered: list[str]) -> str:
        """Return the server's name of a model: the one in ``models``, else the same, else that of its only model.

        Raises: BackendAway: it has no such model.
        """
        name = self._backend.models.get(model) or model
        if name in offered:
            return name
        if not self._backend.models.get(model) and len(offered) == 1:
            return offered[0]
        raise BackendAway(f"does not offer the model {name!r}, but {listed(offered, name) or 'none'}: see models")


class _Images:
    """Images, made by one blocking POST. A server that notices the end of the connection stops."""

    def __init__(
        self, server: Server, name: str, request: GenerationRequest, inputs: Mapping[str, bytes], model: str
    ) -> None:
        self._server, self._name, self._num_images = server, name, request.num_images
        self._response: PostResponse | None = None
        fields = openai_fields.image_fields(request, model)
        if request.kind is Kind.TEXT2IMG:
            self._post: PendingPost = server.post("/v1/images/generations", json=fields, headers=_HEADERS)
            return
        images = [inputs[key] for key in request.images or [str(request.image)]]
        # The field of several images ends in brackets.
        name = "image[]" if len(images) > 1 else "image"
        parts = [*openai_fields.form(fields).items()]
        parts += [(name, openai_fields.picture_part(one, "image")) for one in images]
        if request.mask:
            parts.append(("mask", openai_fields.mask_part(inputs[request.mask], images[0])))
        self._post = server.post("/v1/images/edits", files=parts, headers=_HEADERS)

    def wait(self, seconds: float) -> bool:
        return self._post.wait(seconds)

    def poll(self) -> RemoteProgress:
        self._response = self._post.response()
        return RemoteProgress(done=self._response is not None)

    def stop(self) -> None:
        self._post.abort()

    def fetch(self, folder: Path) -> list[RemoteFile]:
        assert self._response is not None
        posting.check(self._response, self._name)
        body = json_of(self._response.content)
        images = body.get("data") if isinstance(body, dict) else None
        if not isinstance(images, list) or len(images) < self._num_images:
            raise self._bad_result(f"{len(images)} of {self._num_images} images" if images else "no images")
        return [self._file(folder, index, images[index]) for index in range(self._num_images)]

    def _file(self, folder: Path, index: int, image: Any) -> RemoteFile:
        content, url = (image.get("b64_json"), image.get("url")) if isinstance(image, dict) else (None, None)
        if isinstance(content, str):
            try:
                return write_result(base64.b64decode(content, validate=True), folder, index, self._name)
            except binascii.Error as exc:
                raise self._bad_result("a picture that is not base64") from exc
        if not isinstance(url, str):
            raise self._bad_result("an image without content")
        try:
            part = folder / f"{index}.part"
            return keep_download(part, self._server.download(url, part))
        except BackendFailed as exc:  # its file is not the job's fault
            raise HandBack(f"{self._name}: {exc.message}", counted=True) from exc

    def _bad_result(self, what: str) -> HandBack:
        return HandBack(f"{self._name} sent {what} as its result", counted=True)


class _Video:
    """A video: a task on the server."""

    def __init__(
        self, server: Server, name: str, request: GenerationRequest, inputs: Mapping[str, bytes], model: str
    ) -> None:
        self._server, self._steps = server, request.steps
        parts = openai_fields.form(openai_fields.video_fields(request, model))
        if request.image:
            parts["input_reference"] = openai_fields.picture_part(inputs[request.image], "input")
        status, body = server.call("POST", "/v1/videos", files=parts)
        if status in (429, 503):
            raise BackendBusy(f"refuses the job: {detail(body)}")
        if status in (401, 403):
            raise BackendAway(f"refuses access with {status}: check credentials_env")
        task_id = body.get("id") if isinstance(body, dict) else None
        if status not in (200, 201, 202) or not isinstance(task_id, str) or "/" in task_id:
            raise BackendFailed(f"the back end refuses the job ({status}): {detail(body)}")
        self._path = f"/v1/videos/{task_id}"
        self._pace = Pace()

    def wait(self, seconds: float) -> bool:
        return self._pace.wait(seconds)

    def poll(self) -> RemoteProgress:
        try:
            status, body = self._server.call("GET", self._path)
        finally:
            self._pace.plan()
        state = body.get("status") if status == 200 and isinstance(body, dict) else None
        if state == "completed":
            return RemoteProgress(done=True)
        if state in ("queued", "in_progress"):
            percent = body.get("progress")
            share = min(percent, 99) / 100 if isinstance(percent, int | float) else 0
            return RemoteProgress(step=int(share * self._steps), steps=self._steps)
        if status == 404:  # a restart loses all tasks
            raise TaskGone("has lost the task")
        raise BackendFailed(f"the back end reports {state or status}: {detail(body)}")

    def stop(self) -> None:
        self._server.call("DELETE", self._path)

    def fetch(self, folder: Path) -> list[RemoteFile]:
        part = folder / "0.part"
        return [keep_download(part, self._server.download(f"{self._path}/content", part))]
