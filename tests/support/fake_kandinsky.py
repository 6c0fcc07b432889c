"""A fake of Devoid's Kandinsky API without a model."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from tests.support.blocking_server import BlockingServer, as_json

ROOT = {"RestAPI": "Kandinskiy 2.1 Model", "website": "https://web.devoid.pics/"}


class FakeKandinsky(BlockingServer):
    """One server; ``token``: the required value of the header ``authorization``."""

    def __init__(self, token: str = "a:raw token") -> None:
        super().__init__()
        self.token = token

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, bytes, str]:
        if (method, path) == ("GET", "/"):
            return as_json(200, ROOT)
        if headers.get("authorization") != self.token:
            return as_json(401, "Invalid Authorization")
        if (method, path) not in (("POST", "/text2img"), ("POST", "/mix2images")):
            return as_json(404, {"detail": "Not Found"})
        with self.lock:
            self.bodies.append(body)
        if problem := self.problem(path, body):
            return problem
        with self.turn() as generation:
            for _ in self.steps(3, generation):
                pass
        if self.failure:
            return as_json(*self.failure)
        if self.result is not None:
            return 200, self.result, "image/jpg"
        buffer = io.BytesIO()
        Image.new("RGB", (body.get("width") or 512, body.get("height") or 512), "green").save(buffer, "JPEG")
        return 200, buffer.getvalue(), "image/jpg"

    def problem(self, path: str, body: dict[str, Any]) -> tuple[int, bytes, str] | None:
        if path == "/mix2images":
            parts = body.get("images_texts")
            if not isinstance(parts, list) or len(parts) != 4:
                return 500, b"Internal Server Error", "text/plain"
            for image in parts[1:3]:
                Image.open(io.BytesIO(base64.b64decode(image, validate=True))).verify()
        elif not isinstance(body.get("prompt"), str):
            rule = {"loc": ["body", "prompt"], "msg": "field required", "type": "value_error.missing"}
            return as_json(422, {"detail": [rule]})
        if not isinstance(body.get("prior_steps", ""), str):
            rule = {"loc": ["body", "prior_steps"], "msg": "str type expected", "type": "type_error.str"}
            return as_json(422, {"detail": [rule]})
        return None
