"""A fake of AUTOMATIC1111's web UI without a model: one queue for all clients, and a global interrupt."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support.blocking_server import BlockingServer, as_json

NOT_FOUND = {"detail": "Not Found"}


class FakeA1111(BlockingServer):
    """One server.

    Args:
        ui: serves the page and the routes that the page needs; False: as an instance started for the API alone.
        version: before 1.8 it knows no ids of jobs.
        mode: mode of the pictures in Pillow.
        step_s: duration of a step, seconds.
    """

    def __init__(self, *, ui: bool = True, version: float = 1.10, mode: str = "RGB", step_s: float = 0.02) -> None:
        super().__init__(step_s)
        self.ui, self.knows_ids, self.mode = ui, version != 1.7, mode
        #: Whether /progress exists; whether interrupts are obeyed; format of the pictures.
        self.tells_progress = True
        self.obeys = True
        self.samples_format = "PNG"
        #: Bodies of jobs that were interrupted.
        self.interrupted: list[dict[str, Any]] = []
        self.forget()

    def forget(self) -> None:
        self.now: dict[str, Any] | None = None
        self.pending: list[str] = []
        self.finished: list[str] = []

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, bytes, str]:
        match method, path:
            case "GET", "/":
                return (200, b"<html>Stable Diffusion</html>", "text/html") if self.ui else as_json(404, NOT_FOUND)
            case "GET", "/sdapi/v1/progress" if self.tells_progress:
                return as_json(200, self.progress("skip_current_image=true" not in body.get("query", "")))
            case "POST", "/sdapi/v1/interrupt":
                if self.now and self.obeys and not self.now["stopping"]:
                    self.now["stopping"] = True
                    self.interrupted.append(self.now["body"])
                return as_json(200, {})
            case "POST", "/internal/progress" if self.ui:
                task, now = body["id_task"], self.now
                active = bool(now and now["id"] == task)
                known = {"queued": task in self.pending, "completed": task in self.finished}
                return as_json(200, {"active": active, **known, "progress": None})
            case "GET", "/internal/pending-tasks" if self.ui and self.knows_ids:
                return as_json(200, {"size": len(self.pending), "tasks": self.pending})
            case "POST", "/sdapi/v1/txt2img" | "/sdapi/v1/img2img":
                return self.generate(path, body)
        return as_json(404, NOT_FOUND)

    def progress(self, with_image: bool) -> dict[str, Any]:
        now = self.now
        state = {"job": "", "job_count": 0, "job_no": 0, "sampling_step": 0, "sampling_steps": 0, "interrupted": False}
        if now:
            state |= {"job": "Batch", "job_count": now["runs"], "job_no": now["run"], "sampling_step": now["step"],
                      "sampling_steps": now["steps"]}  # fmt: skip
        image = self.picture(now["body"], "so far") if now and with_image and now["step"] else None
        return {"progress": 0.0, "eta_relative": 0.0, "state": state, "current_image": image, "textinfo": None}

    def generate(self, path: str, body: dict[str, Any]) -> tuple[int, bytes, str]:
        with self.lock:
            self.bodies.append(body)
        if path.endswith("img2img") and not body.get("init_images"):
            return as_json(404, {"error": "HTTPException", "detail": "Init image not found", "body": "", "errors": ""})
        task = (body.get("force_task_id") if self.knows_ids else None) or f"task(txt2img-{len(self.bodies)})"
        self.pending.append(task)
        with self.turn() as generation:
            self.pending.remove(task)
            steps, runs, size = body.get("steps", 50), body.get("n_iter", 1), body.get("batch_size", 1)
            now = {"id": task, "body": body, "steps": steps, "runs": runs, "run": 0, "step": 0, "stopping": False}
            self.now = now
            try:
                images: list[str] = []
                for run in range(runs):
                    now["run"] = run
                    for step in self.steps(steps, generation):
                        now["step"] = step
                        if now["stopping"]:
                            break
                    images += [self.picture(body, self.infotext(body, run * size + index)) for index in range(size)]
                    if now["stopping"]:
                        break
            finally:
                if self.generation == generation:
                    self.now = None
            self.finished.append(task)
            if self.failure:
                return as_json(*self.failure)
            if self.mishaps:
                return 200, self.mishaps.pop(), "application/json"
            if self.result is not None:
                return 200, self.result, "application/json"
            info = {"all_seeds": [body.get("seed", -1)], "index_of_first_image": 0}
            return as_json(200, {"images": images, "parameters": {}, "info": json.dumps(info)})

    def infotext(self, body: dict[str, Any], index: int) -> str:
        return f"{body.get('prompt', '')}\nSteps: {body.get('steps', 50)}, Seed: {body.get('seed', -1) + index}"

    def picture(self, body: dict[str, Any], text: str) -> str:
        """Return a picture in raw base64, as the original sends it."""
        size = (body.get("width", 512), body.get("height", 512))
        info, buffer = PngInfo(), io.BytesIO()
        info.add_text("parameters", text)
        colour = (200, 30, 30, 0) if self.mode == "RGBA" else (200, 30, 30)
        options: dict[str, Any] = {"pnginfo": info} if self.samples_format == "PNG" else {}
        Image.new(self.mode, size, colour).save(buffer, self.samples_format, **options)
        return base64.b64encode(buffer.getvalue()).decode()
