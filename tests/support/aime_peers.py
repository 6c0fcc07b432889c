"""Independent peers of the AIME protocol: a worker and a client that send the same requests as the published ones.

They keep no connections, poll every 0.3 s, and retry at once where the originals do. Each counts its calls, so that a
test can detect one that loops without a pause.
"""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable
from typing import Any

import requests
from PIL import Image

POLL_S = 0.3
#: A worker stops for good after an error, or after this many warnings in a row.
MAX_WARNINGS = 4

JobData = dict[str, Any]


def picture(colour: str = "red", size: tuple[int, int] = (16, 8), kind: str = "PNG") -> str:
    """Return a picture as a data URI."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


class Worker:
    """A worker that takes jobs in a thread."""

    def __init__(
        self,
        url: str,
        *,
        job_type: str = "draw",
        key: str = "worker-secret",
        name: str = "host#0_1xGPU",
        batch: int = 1,
        old: bool = False,
        compute: Callable[[Worker, JobData], JobData] | None = None,
    ) -> None:
        self.url, self.job_type, self.key, self.name, self.batch, self.old = url, job_type, key, name, batch, old
        self.compute = compute or (lambda worker, data: {"seed": data.get("seed", 0)})
        self.given: list[JobData] = []
        #: The complete responses that contained jobs.
        self.offers: list[dict[str, Any]] = []
        self.calls: dict[str, int] = {}
        self.replies: list[Any] = []
        self.canceled: set[str] = set()
        #: Whether a progress call has failed; after that it sends no more progress.
        self.muted = False
        #: Why it stopped for good; '' while it works.
        self.ended = ""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Worker:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop without finishing the current job, like a killed worker."""
        self._stopping.set()

    def join(self) -> None:
        self._stopping.set()
        self._thread.join(70)

    def __enter__(self) -> Worker:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def post(self, path: str, body: Any, timeout_s: float = 60.0) -> requests.Response:
        self.calls[path] = self.calls.get(path, 0) + 1
        return requests.post(self.url + path, json=body, timeout=timeout_s)

    def _run(self) -> None:
        self.post("/worker_check_server_status", {"auth_key": self.key, "job_type": self.job_type, "auth": self.name})
        warnings = 0
        while not self._stopping.is_set():
            try:
                response = self.post("/worker_job_request", self._wish())
            except requests.RequestException:
                time.sleep(POLL_S)
                continue
            if response.status_code != 200:
                continue  # the original retries at once
            answer = response.json()
            if self._stopping.is_set():
                return
            warnings = warnings + 1 if answer["cmd"] == "warning" else 0
            if answer["cmd"] == "error" or warnings >= MAX_WARNINGS:
                self.ended = answer["msg"]
                return
            if answer["cmd"] == "job":
                assert isinstance(answer["final_output_descriptions"], dict)
                assert isinstance(answer["progress_output_descriptions"], dict)
                assert isinstance(answer["job_data"], list)
                self.offers.append(answer)
                self.given += answer["job_data"]
                for data in answer["job_data"]:
                    self._work(data)

    def _wish(self) -> dict[str, Any]:
        about = {"gpu_name": "Test GPU", "num_gpus": 1, "framework": "none", "model_label": "tiny"}
        wish = {"auth": self.name, "job_type": self.job_type, "auth_key": self.key, "version": "0.9.12", **about}
        return wish if self.old else {**wish, "max_job_batch": self.batch, "request_timeout": 60, "worker_version": 1}

    def _work(self, data: JobData) -> None:
        result = self.compute(self, data)
        if result is not None and not self._stopping.is_set():
            self.send_result(data, result)

    def send_progress(self, data: JobData, progress: float, progress_data: dict[str, Any] | None) -> None:
        item = {"job_id": data["job_id"], "job_type": self.job_type, "auth_key": self.key, "progress": progress}
        if progress_data is not None:
            item["progress_data"] = {**progress_data, "version": "0.9.12", "auth": self.name}
        if self.old:
            item |= {"start_time": data["start_time"], "start_time_compute": data["start_time_compute"]}
        else:
            item["auth"] = self.name
        if self.muted:
            return
        try:
            replies = self.post("/worker_job_progress", [item]).json()
        except (requests.RequestException, ValueError):
            self.muted = True
            return
        for reply in replies:
            self.replies.append(reply)
            if reply.get("canceled"):
                self.canceled.add(reply["job_id"])

    def send_result(self, data: JobData, result: JobData) -> Any:
        body = {**result, "job_id": data["job_id"], "auth": self.name, "auth_key": self.key, "job_type": self.job_type}
        body |= {"version": "0.9.12"}
        if self.old:
            body |= {"start_time": data["start_time"], "start_time_compute": data["start_time_compute"]}
        while not self._stopping.is_set():
            try:
                response = self.post("/worker_job_result", body)
            except requests.RequestException:
                time.sleep(POLL_S)
                continue
            if response.status_code == 200:
                return response.json()
        return None


class Client:
    """A client that submits and polls like the Python client."""

    def __init__(self, url: str, endpoint: str, *, key: str | None = None, session: str | None = None) -> None:
        self.url, self.endpoint, self.key, self.session = url, endpoint, key, session
        self.polls = 0

    def login(self, user: str | None = None) -> dict[str, Any]:
        query = {"version": "test", "user": user, "key": self.key}
        response = requests.get(f"{self.url}/{self.endpoint}/login", params=query, timeout=60)
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        self.session = answer.get("client_session_auth_key")
        return answer

    def send(self, *, wait: bool = True, **params: Any) -> requests.Response:
        body = {**params, "client_session_auth_key": self.session, "key": self.key, "wait_for_result": wait}
        return requests.post(f"{self.url}/{self.endpoint}", json=body, timeout=90)

    def submit(self, **params: Any) -> str:
        response = self.send(wait=False, **params)
        assert response.status_code == 200, response.text
        return str(response.json()["job_id"])

    def poll(self, job_id: str) -> requests.Response:
        query = {"key": self.key, "job_id": job_id, "client_session_auth_key": self.session}
        self.polls += 1
        return requests.get(f"{self.url}/{self.endpoint}/progress", params=query, timeout=60)

    def follow(self, job_id: str, seen: list[Any] | None = None, patience_s: float = 60.0) -> dict[str, Any]:
        """Poll until the job is done; return the result. Like the original, it polls for ever at an unknown state."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            response = self.poll(job_id)
            if response.status_code != 200:
                raise ConnectionError(response.text)
            answer = response.json()
            assert answer["success"]
            if seen is not None:
                seen.append(answer)
            if answer["job_state"] == "done":
                return dict(answer["job_result"])
            progress = answer["progress"]
            assert isinstance(progress["progress_data"], dict)
            assert {"progress", "queue_position", "estimate", "num_workers_online"} <= progress.keys()
            time.sleep(POLL_S)
        raise AssertionError(f"not done after {patience_s:g} s")
