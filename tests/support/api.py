"""Calls of the native API of a server on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import requests

#: Longest wait for any condition, seconds; a test that waits longer fails.
PATIENCE_S = 150.0
#: Steps of a tiny job that runs until it is stopped.
ENDLESS_STEPS = 100_000


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Poll until ``condition()`` is true, and return its value.

    The longer it takes, the rarer are the polls: most conditions are HTTP requests, which slow down what they wait for.
    """
    begun = time.monotonic()
    while (waited_s := time.monotonic() - begun) < timeout_s:
        if value := condition():
            return value
        time.sleep(min(0.2, max(0.02, waited_s / 20)))
    raise AssertionError(f"waited {timeout_s:g} s in vain for {what}")


class Api:
    """A server that listens on loopback."""

    port: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url(path), timeout=60, **options)

    def delete(self, path: str) -> requests.Response:
        return requests.delete(self.url(path), timeout=60)

    def post(self, **fields: Any) -> requests.Response:
        return requests.post(self.url("/v1/jobs"), json=fields, timeout=90)

    def submit(self, **fields: Any) -> str:
        """Submit a job for a tiny image, with ``fields`` replacing the defaults; return its id."""
        response = self.post(**{"model": "tiny-image", "prompt": "a red circle", **fields})
        assert response.status_code in (200, 201), response.text
        return str(response.json()["id"])

    def endless(self, **fields: Any) -> str:
        """Submit a job that runs until it is stopped, wait until it denoises, and return its id."""
        job_id = self.submit(steps=ENDLESS_STEPS, **fields)
        self.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "its first step")
        return job_id

    def cancel(self, job_id: str) -> requests.Response:
        """Cancel a job."""
        return requests.post(self.url(f"/v1/jobs/{job_id}/cancel"), timeout=60)

    def pause(self, job_id: str, **options: Any) -> None:
        """Pause a job, and wait until it is paused."""
        response = requests.post(self.url(f"/v1/jobs/{job_id}/pause"), timeout=60, **options)
        assert response.status_code == 200, response.text
        state = lambda: self.get(f"/v1/jobs/{job_id}", **options).json()["state"]  # noqa: E731
        wait_for(lambda: state() == "paused", f"the pause of job {job_id}")

    def resume(self, job_id: str, **options: Any) -> None:
        """Let a paused job go on."""
        response = requests.post(self.url(f"/v1/jobs/{job_id}/resume"), timeout=60, **options)
        assert response.status_code == 200, response.text

    def cancel_all(self, **fields: Any) -> requests.Response:
        """Cancel all running jobs."""
        return requests.post(self.url("/v1/jobs/cancel"), json=fields, timeout=60)

    def fleet(self) -> dict[str, Any]:
        return dict(self.get("/v1/fleet").json())

    def queue(self) -> dict[str, Any]:
        return dict(self.get("/v1/queue").json())

    def status(self, job_id: str) -> dict[str, Any]:
        return dict(self.get(f"/v1/jobs/{job_id}").json())

    def wait_until(self, job_id: str, condition: Callable[[dict[str, Any]], Any], what: str) -> dict[str, Any]:
        view: dict[str, Any] = {}

        def look() -> Any:
            view.clear()
            view.update(self.status(job_id))
            return condition(view)

        try:
            wait_for(look, f"job {job_id}: {what}")
        except AssertionError as exc:
            raise AssertionError(f"{exc}; last seen: {view}") from None
        return view

    def wait(self, job_id: str) -> dict[str, Any]:
        """Wait for the end of a job; return its status."""
        ends = ("succeeded", "failed", "cancelled", "expired")
        return self.wait_until(job_id, lambda view: view.get("state") in ends, "its end")
