"""Executor for Devoid's Kandinsky API: one blocking POST, without progress and without a way to stop it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.errors import BackendFailed
from jobs.models.backends import Backend
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.requests.schedulers_loras_mix import kandinsky_parts
from workers.remote import posting
from workers.remote.base import BackendAway, RemoteFile, RemoteProgress
from workers.remote.pictures import write_result
from workers.remote.posting import PendingPost, PostResponse
from workers.remote.server import Server, secret_of

#: The server's name in the response of its root.
NAME = "Kandinskiy 2.1 Model"
#: Longest wait of a stopped job for its end, seconds: the server goes on until it is done.
STOP_PATIENCE_S = 20.0
#: Field of the request's prior → field of the server.
_PRIOR = {"steps": "prior_steps", "guidance_scale": "prior_cf_scale", "negative_prompt": "negative_prior_prompt"}


class KandinskyExecutor:
    """See :class:`workers.remote.base.RemoteExecutor`."""

    tells_progress = False

    def __init__(self, backend: Backend, namespace: str) -> None:
        self._backend = backend
        # The key is sent without a scheme. The other header skips the page that an ngrok tunnel shows to browsers.
        key = {"authorization": secret} if (secret := secret_of(backend)) else {}
        self._server = Server(backend, headers={"ngrok-skip-browser-warning": "1", **key})
        self._post: PendingPost | None = None
        self._response: PostResponse | None = None

    def health(self) -> str | None:
        status, body = self._server.call("GET", "/")
        if status != 200 or not isinstance(body, dict) or body.get("RestAPI") != NAME:
            return f"answers {status} to GET /, but not as the Kandinsky API"
        return None

    def submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        if why := self.health():
            raise BackendAway(why)
        path = "/mix2images" if request.kind is Kind.MIX2IMG else "/text2img"
        self._post = self._server.post(path, json=body_of(request, inputs))

    def wait(self, seconds: float) -> bool:
        assert self._post is not None
        return self._post.wait(seconds)

    def poll(self, *, preview: bool = False) -> RemoteProgress:
        assert self._post is not None
        self._response = self._post.response()
        return RemoteProgress(done=self._response is not None)

    def stop(self) -> None:
        if self._post is not None:
            self._post.wait(STOP_PATIENCE_S)

    def fetch(self, folder: Path) -> list[RemoteFile]:
        assert self._response is not None
        posting.check(self._response, self._backend.name)
        return [write_result(self._response.content, folder, 0, self._backend.name)]

    def close(self) -> None:
        if self._post is not None:
            self._post.abort()
        self._server.close()


def body_of(request: GenerationRequest, inputs: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the pass-through body, overridden by the request. Raises: BackendFailed: it cannot do this."""
    if request.controls:
        raise BackendFailed("a Kandinsky server cannot do this: controls")
    body = dict(request.passthrough or {})
    body |= {_PRIOR[name]: value for name, value in (request.prior or {}).items()}
    if body.get("prior_steps") is not None:
        body["prior_steps"] = str(body["prior_steps"])
    body |= {
        "steps": request.steps,
        "guidance_scale": _whole(request.guidance_scale),
        "width": request.width,
        "height": request.height,
        "negative_decoder_prompt": request.negative_prompt,
    }
    if request.kind is not Kind.MIX2IMG:
        return {**body, "prompt": request.prompt}
    mix = kandinsky_parts(request.mix or ())
    if mix is None:
        raise BackendFailed("the back end mixes two images, at most one text before and one after them")
    parts = [part["text"] if "text" in part else base64.b64encode(inputs[part["image"]]).decode() for part in mix]
    return {**body, "images_texts": parts, "weights": [part["weight"] for part in mix]}


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value
