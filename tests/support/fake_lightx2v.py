"""A fake LightX2V server of either generation without a model: ``Fake(queues=True)``.

Tests change its attributes while it runs to make it fail.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
import numpy as np
from werkzeug.formparser import parse_form_data


class Fake:
    """One server. ``queues``: the newer generation, with a queue and base64; else one task at a time, and forms."""

    def __init__(self, video: bytes, *, queues: bool, step_s: float = 0.02, steps_told: bool = False) -> None:
        self.video, self.queues, self.step_s, self.steps_told = video, queues, step_s, steps_told
        self.tasks: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        self.uploads: list[bytes] = []
        #: A reason to fail tasks with; tasks never end; content of a result; whether stops are obeyed.
        self.failure = ""
        self.endless = False
        self.result: bytes | None = None
        self.obeys = True
        #: The process is dead: open connections end without a response.
        self.dead = False
        self.lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    def start(self) -> Fake:
        fake = self
        self.dead = False

        class Handler(_Handler):
            owner = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Kill the process: it responds to nothing any more and forgets its tasks."""
        assert self._server is not None
        self.dead = True
        self._server.shutdown()
        self._server.server_close()
        self.tasks.clear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ---- its behaviour

    def running(self) -> str | None:
        for task_id in list(self.tasks):
            if self._look(self.tasks[task_id])["status"] == "processing":
                return task_id
        return None

    def _look(self, task: dict[str, Any]) -> dict[str, Any]:
        if task["status"] == "processing":
            task["step"] = min(task["steps"], int((time.monotonic() - task["begun"]) / self.step_s))
            if self.failure:
                task.update(status="failed", error=self.failure)
            elif task["step"] >= task["steps"] and not self.endless:
                task["status"] = "completed"
        return task

    def create(self, fields: dict[str, Any]) -> tuple[int, Any]:
        with self.lock:
            if self.running():
                return (503, "Task queue is full (max 1 tasks)") if self.queues else (400, "Service busy")
            task_id = fields.get("task_id") or f"FAKE-{len(self.tasks)}"
            if task_id in self.tasks:
                return 400, f"Task ID {task_id} already exists"
            steps = int(fields.get("infer_steps", 5))
            self.tasks[task_id] = {"fields": fields, "status": "processing", "begun": time.monotonic(), "steps": steps}
        word = "pending" if self.queues else "processing"
        return 200, {"task_id": task_id, "task_status": word, "save_video_path": fields.get("save_video_path", "")}

    def stop_task(self, task_id: str | None) -> dict[str, str]:
        if task_id not in self.tasks or not self.obeys:
            return {"stop_status": "do_nothing", "reason": "No running task found."}
        self.tasks[task_id]["status"] = "cancelled" if self.queues else "failed"
        return {"stop_status": "success", "reason": "Task stopped successfully."}


class _Handler(BaseHTTPRequestHandler):
    owner: Fake
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        if self.owner.dead:
            self.close_connection = True
            return
        super().handle_one_request()

    def parse_request(self) -> bool:
        if self.owner.dead:
            self.close_connection = True
            return False
        return super().parse_request()

    def do_GET(self) -> None:
        fake, path = self.owner, self.path
        fake.calls.append(f"GET {path}")
        if path == "/v1/service/status":
            task = fake.running()
            name = "current_task" if fake.queues else "task_id"
            self._answer(200, {"service_status": "busy" if task else "idle", name: task})
        elif path == "/v1/tasks/queue/status" and fake.queues:
            self._answer(200, {"is_processing": bool(fake.running()), "queue_size": 1})
        elif path.endswith("/status"):
            self._status(path.split("/")[3])
        elif path.endswith("/result"):
            task = fake.tasks.get(path.split("/")[3])
            if task is None or task["status"] != "completed":
                self._answer(404, "Task not completed or does not exist")
            else:
                self._send(200, fake.video if fake.result is None else fake.result, "video/mp4")
        else:
            self._answer(404, "Not Found")

    def do_POST(self) -> None:
        fake, path = self.owner, self.path
        fake.calls.append(f"POST {path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if path == "/v1/tasks/" or (fake.queues and path == "/v1/tasks/image/"):
            fields = json.loads(body)
            if fields.get("image_path"):
                fake.uploads.append(base64.b64decode(fields["image_path"], validate=True))
            self._answer(*fake.create(fields))
        elif path == "/v1/tasks/form" and not fake.queues:
            environ = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body)), "REQUEST_METHOD": "POST",
                       "CONTENT_TYPE": self.headers["Content-Type"]}  # fmt: skip
            _, form, files = parse_form_data(environ)
            with files["image_file"].stream as upload:
                fake.uploads.append(upload.read())
            self._answer(*fake.create(form.to_dict()))
        else:
            self._answer(405, "Method Not Allowed")

    def do_DELETE(self) -> None:
        fake, task_id = self.owner, self.path.rpartition("/")[2]
        fake.calls.append(f"DELETE {self.path}")
        self._answer(200, fake.stop_task(fake.running() if task_id == "running" and not fake.queues else task_id))

    def _status(self, task_id: str) -> None:
        fake = self.owner
        if task_id not in fake.tasks:
            if fake.queues:
                self._answer(404, "Task not found")
            else:
                self._answer(200, {"status": "not_found", "task_id": task_id})
            return
        task = fake._look(fake.tasks[task_id])
        more = {"step": task.get("step", 0), "steps": task["steps"]} if fake.steps_told else {}
        self._answer(200, {"task_id": task_id, "status": task["status"], "error": task.get("error"), **more})

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body if status == 200 else {"detail": body}).encode()
        self._send(status, content, "application/json")

    def _send(self, status: int, content: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def small_video() -> bytes:
    """Return a real MP4: 9 frames of 32 × 32 pixels, 8 per second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for shade in range(9):
            picture = np.full((32, 32, 3), shade * 20, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()
