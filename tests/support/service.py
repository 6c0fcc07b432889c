"""A Flask app on an emptied Redis, and slots whose workers the test moves by hand; no other process runs."""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse

from app import create_app
from app.access import auth
from app.extensions import of
from jobs.callers import Caller, Role
from jobs.record import Output
from jobs.settings import Settings
from jobs.store.credentials import link_secret
from jobs.store.credentials.api_keys import KeyRing
from tests.support import documented
from tests.support.pictures import PNG
from tests.support.store_driver import StoreDriver
from tests.support.tiny import BASE

#: One message of an event stream: id, name, data.
Message = tuple[str, str, dict[str, Any]]
MODELS = ("tiny-image", "tiny-video")
#: Longest wait for a message, seconds; a test that waits longer fails.
PATIENCE_S = 30.0


class Stream:
    """The messages of an event stream. A thread reads them, because a stream keeps the context of its request."""

    def __init__(self, service: Service, path: str, headers: dict[str, str]) -> None:
        self.comments: list[str] = []
        self._messages: queue.Queue[Message | BaseException | None] = queue.Queue()
        self._begun, self._closed = threading.Event(), threading.Event()
        threading.Thread(target=self._read, args=(service, path, headers), daemon=True).start()
        assert self._begun.wait(PATIENCE_S)

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Message:
        message = self._messages.get(timeout=PATIENCE_S)
        if message is None:
            raise StopIteration
        if isinstance(message, BaseException):
            raise message
        return message

    def close(self) -> None:
        """Stop reading at the next message."""
        self._closed.set()

    def _read(self, service: Service, path: str, headers: dict[str, str]) -> None:
        try:
            with service.app.test_client(use_cookies=False).get(path, headers=headers, buffered=False) as response:
                assert response.status_code == 200, response.text
                assert response.headers["Content-Type"].startswith("text/event-stream")
                for chunk in response.iter_encoded():  # each chunk is one message
                    self._put(chunk.decode())
                    self._begun.set()
                    if self._closed.is_set():
                        break
            self._messages.put(None)
        except BaseException as exc:  # raised again where the messages are read
            self._messages.put(exc)
        finally:
            self._begun.set()

    def _put(self, text: str) -> None:
        lines = text.splitlines()
        self.comments += [line for line in lines if line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
        if "event" in fields:
            self._messages.put((fields["id"], fields["event"], json.loads(fields["data"])))


class Service:
    """An app, called without a network, and the queue on its Redis."""

    def __init__(self, server: Settings, folder: Path, **environment: Any) -> None:
        models_file = folder / "models.toml"
        models_file.write_text(BASE)
        options = {"DATA_DIR": server.paths.data_dir, "MODELS_FILE": models_file, **environment}
        self.settings = Settings.from_env({name: str(value) for name, value in options.items()})
        self.driver = StoreDriver(self.settings)
        self.store, self.redis = self.driver.store, self.driver.redis
        self.app = create_app(self.settings)
        documented.watch(self.app)
        of(self.app).current_jobs.fresh_s = 0  # tests see at once what they change
        of(self.app).reads.recent_s = 0
        self.objects = of(self.app).objects
        self.client = self.app.test_client()

    def empty(self) -> Service:
        """Remove all jobs, slots, keys and files."""
        self.redis.flushall()
        for prefix in ("inputs/", "outputs/"):
            for stored in list(self.objects.list(prefix)):
                self.objects.delete(stored.key)
        auth.keys_changed()
        link_secret.changed()
        return self

    def close(self) -> None:
        """Stop everything that the app has started."""
        of(self.app).hub.close()

    # ---- the API

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.client.post(path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.client.delete(path, **options)

    def json(self, path: str, **options: Any) -> Any:
        """Return the body of a successful GET."""
        response = self.get(path, **options)
        assert response.status_code == 200, response.text
        return response.get_json()

    def submit(self, headers: dict[str, str] | None = None, **fields: Any) -> str:
        """Submit an image, with ``fields`` replacing the defaults; return its id."""
        response = self.post("/v1/jobs", json={"model": "tiny-image", "prompt": "x", **fields}, headers=headers)
        assert response.status_code == 201, response.text
        return str(response.get_json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.json(f"/v1/jobs/{job_id}"))

    def cancel(self, job_id: str) -> dict[str, Any]:
        response = self.post(f"/v1/jobs/{job_id}/cancel")
        assert response.status_code == 200, response.text
        return dict(response.get_json())

    def pause(self, slot: str = "gpu0", step: int = 2) -> str:
        """Pause the slot's job: its caller asks for it, and its run stops after a step. Return its id."""
        job_id, attempt = self.driver.at(slot)
        self.store.progress(job_id, attempt, "denoising", step, 4, None, resumable=True)
        assert self.post(f"/v1/jobs/{job_id}/pause").status_code == 200
        self.store.keep_checkpoint(job_id, attempt, step=step, age_s=0, node="host")
        self.store.hand_over(job_id, attempt, slot=slot)
        return job_id

    def resume(self, job_id: str) -> None:
        """Let a paused job go on."""
        assert self.post(f"/v1/jobs/{job_id}/resume").status_code == 200

    def events(self, path: str, since: str = "", headers: dict[str, str] | None = None) -> Stream:
        """Follow a stream of events, which has begun when this returns."""
        return Stream(self, path, {**(headers or {}), **({"Last-Event-ID": since} if since else {})})

    # ---- workers

    def open(self, slot: str = "gpu0", *models: str) -> None:
        """Register a worker for a slot."""
        self.driver.open(slot, *(models or MODELS))

    def start(self, slot: str = "gpu0", step: int = 0, steps: int = 4) -> str:
        """Start the slot's job; report ``step`` if it is not 0."""
        job_id = self.driver.start(slot)
        if step:
            self.step(step, steps, slot)
        return job_id

    def step(self, step: int, steps: int = 4, slot: str = "gpu0") -> None:
        """Report a step of the slot's job."""
        job_id, attempt = self.driver.at(slot)
        assert self.store.progress(job_id, attempt, "denoising", step, steps, 1.0)

    def finish(
        self, slot: str = "gpu0", content: bytes = PNG, media_type: str = "image/png", suffix: str = "png"
    ) -> str:
        """Finish the slot's job and store its output."""
        job_id, attempt = self.driver.at(slot)
        if self.driver.state(job_id) == "queued":
            self.driver.start(slot)
        assert self.store.finish_run(job_id, attempt, slot=slot, node="host", run_s=1)
        self.deliver(job_id, attempt, content, media_type, suffix)
        return job_id

    def deliver(self, job_id: str, attempt: int, content: bytes, media_type: str, suffix: str) -> None:
        """Store the output of the computed job."""
        number = self.store.claim(job_id, attempt, "io")
        key = f"outputs/{job_id}/{attempt}.{number}/0.{suffix}"
        self.objects.put_bytes(key, content, media_type)
        output = Output(key, media_type, len(content), hashlib.sha256(content).hexdigest(), 40, 30)
        assert self.store.deliver(job_id, attempt, "io", [output])

    def release(self, slot: str = "gpu0") -> None:
        """Report that the slot has stopped working on a cancelled job."""
        job_id, attempt = self.driver.at(slot)
        self.store.release(job_id, attempt, slot=slot)

    def fail(
        self, slot: str = "gpu0", code: str = "execution_failed", message: str = "it broke", cause: str = ""
    ) -> str:
        """Fail the slot's job."""
        job_id, attempt = self.driver.at(slot)
        if self.driver.state(job_id) == "queued":
            self.driver.start(slot)
        assert self.store.fail(job_id, attempt, code=code, message=message, slot=slot, cause=cause)
        return job_id


@contextmanager
def later(action: Callable[..., Any], *args: Any, **kwargs: Any) -> Iterator[None]:
    """Call a function while the body waits for its effect; it is done when the block ends."""
    timer = threading.Timer(0.2, action, args, kwargs)
    timer.start()
    yield
    timer.join()


def first_key(service: Service, name: str = "ops") -> dict[str, str]:
    """Return the header with an admin key that was created on the server's host."""
    secret = KeyRing(service.store).create(Caller(key_id=name, role=Role.ADMIN))
    auth.keys_changed()
    return {"Authorization": f"Bearer {secret}"}


def key(service: Service, name: str, **fields: Any) -> dict[str, str]:
    """Return the header with a new API key; the first key of a service is an admin key, created on its host."""
    admin = fields.pop("admin", None)
    if admin is None:
        return first_key(service, name)
    response = service.post("/v1/admin/keys", json={"service": name, **fields}, headers=admin)
    assert response.status_code == 200, response.text
    return {"Authorization": f"Bearer {response.get_json()['secret']}"}
