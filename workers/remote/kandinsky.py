"""Devoid's Kandinsky API as a back end: one blocking POST, without progress and without a way to stop it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.errors import BackendFailed
from jobs.models.backends import Backend
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.requests.schedulers_loras_mix import in_fours
from workers.remote import BackendAway, Progress, RemoteFile, posting
from workers.remote.http import Server, secret_of
from workers.remote.posting import Answer, Posting

#: What it answers at its root.
NAME = "Kandinskiy 2.1 Model"
#: It works on until it is done; the slot waits for it so long, seconds.
STOP_PATIENCE_S = 20.0
#: Our fields of the prior → theirs.
_PRIOR = {"steps": "prior_steps", "guidance_scale": "prior_cf_scale", "negative_prompt": "negative_prior_prompt"}


class Executor:
    """See :class:`workers.remote.RemoteExecutor`."""

    def __init__(self, backend: Backend, namespace: str) -> None:
        self._backend = backend
        # The key is sent as it is; the other header gets us past the page that a tunnel shows to browsers.
        key = {"authorization": secret} if (secret := secret_of(backend)) else {}
        self._server = Server(backend, headers={"ngrok-skip-browser-warning": "1", **key})
        self._posting: Posting | None = None
        self._answer: Answer | None = None

    def health(self) -> str | None:
        status, body = self._server.call("GET", "/")
        if status != 200 or not isinstance(body, dict) or body.get("RestAPI") != NAME:
            return f"answers {status} to GET /, but not as the Kandinsky API"
        return None

    def submit(self, request: GenerationRequest, inputs: Mapping[str, bytes], run_id: str) -> None:
        if why := self.health():
            raise BackendAway(why)
        path = "/mix2images" if request.kind is Kind.MIX2IMG else "/text2img"
        self._posting = self._server.post(path, body_of(request, inputs))

    def poll(self, *, preview: bool = False) -> Progress:
        assert self._posting is not None
        self._answer = self._posting.answer()
        return Progress(done=self._answer is not None)

    def stop(self) -> None:
        if self._posting is not None:
            self._posting.wait(STOP_PATIENCE_S)

    def fetch(self, folder: Path) -> list[RemoteFile]:
        assert self._answer is not None
        posting.check(self._answer, self._backend.name)
        return [posting.picture(self._answer.content, folder, 0, self._backend.name)]

    def close(self) -> None:
        if self._posting is not None:
            self._posting.abandon()
        self._server.close()


def body_of(request: GenerationRequest, inputs: Mapping[str, bytes]) -> dict[str, Any]:
    """What the sender passed on, and over it what the request says. Raises: BackendFailed: a mix that it cannot do."""
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
    mix = in_fours(request.mix or ())
    if mix is None:
        raise BackendFailed("the back end mixes two images, at most one text before and one after them")
    parts = [part["text"] if "text" in part else base64.b64encode(inputs[part["image"]]).decode() for part in mix]
    return {**body, "images_texts": parts, "weights": [part["weight"] for part in mix]}


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value
