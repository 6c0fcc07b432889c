"""Calls of AUTOMATIC1111's API for tests, and requests that wait in a separate thread."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
from typing import Any

import requests
from PIL import Image

from tests.support.api import ENDLESS_STEPS, PATIENCE_S, Api, wait_for

#: A body as most clients send it.
BODY = {"prompt": "a red circle", "negative_prompt": "blur", "steps": 3, "width": 32, "height": 32, "seed": 7}
#: The same with a job that runs until it is stopped.
ENDLESS = {**BODY, "steps": ENDLESS_STEPS}


def post(server: Api, path: str, body: Any = None, **options: Any) -> requests.Response:
    return requests.post(server.url(f"/sdapi/v1/{path}"), json=body, timeout=PATIENCE_S, **options)


def get(server: Api, path: str, **options: Any) -> Any:
    response = requests.get(server.url(f"/sdapi/v1/{path}"), timeout=PATIENCE_S, **options)
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "application/json"
    return response.json()


def opened(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    image.load()
    return image


def pixels(answer: requests.Response) -> list[bytes]:
    assert answer.status_code == 200, answer.text
    return [opened(text).tobytes() for text in answer.json()["images"]]


def seeds(answer: requests.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return list(json.loads(answer.json()["info"])["all_seeds"])


def picture(colour: str = "red", side: int = 32) -> str:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


class Waiting:
    """A request that waits for its response in a thread."""

    def __init__(self, server: Api, body: Any, path: str = "txt2img", **options: Any) -> None:
        self.answer: requests.Response | None = None
        self.error: requests.RequestException | None = None
        self._thread = threading.Thread(target=self._run, args=(server, path, body, options), daemon=True)
        self._thread.start()

    def _run(self, server: Api, path: str, body: Any, options: dict[str, Any]) -> None:
        try:
            self.answer = post(server, path, body, **options)
        except requests.RequestException as exc:
            self.error = exc

    def end(self) -> requests.Response:
        """Return the response. Raises: AssertionError: the connection broke."""
        self._thread.join(PATIENCE_S)
        assert self.answer is not None, self.error
        return self.answer

    def broken(self) -> None:
        """Wait until the connection is broken."""
        self._thread.join(PATIENCE_S)
        assert self.error is not None, self.answer


class Impatient:
    """A client that sends a request and hangs up on demand."""

    def __init__(self, server: Api, body: Any, path: str = "txt2img", port: int = 0, headers: str = "") -> None:
        data = json.dumps(body).encode()
        self._socket = socket.create_connection(("127.0.0.1", port or server.port), timeout=PATIENCE_S)
        path = path if path.startswith("/") else f"/sdapi/v1/{path}"
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n"
        self._socket.sendall(head.encode() + b"Content-Type: application/json\r\n" + headers.encode() + b"\r\n" + data)

    def hang_up(self) -> None:
        self._socket.close()


def raw(server: Api, body: Any, path: str = "txt2img") -> requests.Response:
    """Return the bytes that :class:`Impatient` sends."""
    headers = {"Content-Type": "application/json"}
    url = server.url(f"/sdapi/v1/{path}")
    return requests.post(url, data=json.dumps(body).encode(), headers=headers, timeout=PATIENCE_S)


def jobs(server: Api, *states: str) -> list[dict[str, Any]]:
    """Return the jobs in these states, newest first."""
    found = server.get("/v1/jobs", params={"limit": 500}).json()["jobs"]
    return [job for job in found if not states or job["state"] in states]


def until_running(server: Api, number: int = 1) -> list[dict[str, Any]]:
    """Wait until this many jobs denoise."""

    def look() -> Any:
        found = [job for job in jobs(server, "running") if job["progress"]["step"] > 0]
        return found if len(found) >= number else None

    return list(wait_for(look, f"{number} running jobs"))


def until_idle(server: Api) -> None:
    wait_for(lambda: not jobs(server, "queued", "running", "delivering"), "all jobs to end")
