"""A fake of a server with OpenAI's API, without a model."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from tests.support.blocking_server import BlockingServer, as_json
from tests.support.pictures import PNG

MP4 = b"\x00\x00\x00\x18ftypisom" + bytes(64)


class FakeOpenAI(BlockingServer):
    """One server; ``models``: what it lists. ``links``: whether it answers with links instead of base64."""

    def __init__(self, *models: str, token: str = "a key") -> None:
        super().__init__()
        self.models, self.token = models or ("flux",), token
        self.links = False
        #: Where a link leads instead of to this server.
        self.elsewhere = ""
        #: Progress of each video, and what was deleted.
        self.videos: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []

    def forget(self) -> None:
        self.videos.clear()

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, bytes, str]:
        if headers.get("authorization") != f"Bearer {self.token}":
            return problem(401, "Incorrect API key provided", "invalid_api_key")
        if path == "/v1/models":
            listed = [{"id": name, "object": "model", "created": 1, "owned_by": "here"} for name in self.models]
            return as_json(200, {"object": "list", "data": listed})
        if path.startswith("/v1/files/"):
            return 200, PNG, "image/png"
        if path.startswith("/v1/images/"):
            return self._images(path, body)
        return self._video(method, path, body)

    def _images(self, path: str, body: dict[str, Any]) -> tuple[int, bytes, str]:
        with self.lock:
            self.bodies.append({"path": path, **body})
        if body["model"] not in self.models:
            return problem(404, f"The model {body['model']} does not exist", "model_not_found", "model")
        with self.turn() as generation:
            for _ in self.steps(3, generation):
                pass
        if self.failure:
            return as_json(*self.failure)
        if self.result is not None:
            return 200, self.result, "application/json"
        width, height = (int(side) for side in body["size"].split("x"))
        return as_json(200, {"created": 1, "data": [self._image(width, height) for _ in range(int(body["n"]))]})

    def _image(self, width: int, height: int) -> dict[str, str]:
        if self.links:
            return {"url": f"{self.elsewhere or self.url}/v1/files/1.png"}
        file = io.BytesIO()
        Image.new("RGB", (width, height), "green").save(file, "PNG")
        return {"b64_json": base64.b64encode(file.getvalue()).decode()}

    def _video(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, bytes, str]:
        if (method, path) == ("POST", "/v1/videos"):
            with self.lock:
                self.bodies.append({"path": path, **body})
            if self.failure:
                return as_json(*self.failure)
            video = {"id": f"video_{len(self.bodies)}", "object": "video", "status": "queued", "progress": 0}
            self.videos[video["id"]] = video
            return as_json(200, video)
        name, _, rest = path.removeprefix("/v1/videos/").partition("/")
        if (video := self.videos.get(name)) is None:
            return problem(404, "no such video", "not_found")
        if method == "DELETE":
            self.deleted.append(name)
            del self.videos[name]
            return as_json(200, {"id": name, "object": "video.deleted", "deleted": True})
        if rest == "content":
            return 200, MP4, "video/mp4"
        self._advance(video)
        return as_json(200, video)

    def _advance(self, video: dict[str, Any]) -> None:
        """Each look finds a video half further, unless videos are endless."""
        video["status"] = "in_progress"
        if video["progress"] == 0 or not self.endless:
            video["progress"] += 50
        if video["progress"] >= 100:
            video |= {"status": "completed", "progress": 100}


def problem(status: int, message: str, code: str, param: str | None = None) -> tuple[int, bytes, str]:
    return as_json(status, {"error": {"message": message, "type": "error", "param": param, "code": code}})
