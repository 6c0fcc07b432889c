"""Files expire and are deleted on a running server."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from jobs.errors import ObjectNotFound
from jobs.objects.local import LocalStore
from jobs.store import keys
from tests.support.harness import wait_for


def data_url() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "navy").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def end_grace(stack: Any, name: str) -> None:
    """Let the grace period of an input end."""
    stack.store.client.zadd(keys.DUE, {name: 1}, xx=True)


def stored(stack: Any) -> list[str]:
    objects = LocalStore(stack.settings.paths.objects_dir)
    return [found.key for prefix in ("inputs/", "outputs/") for found in objects.list(prefix)]


@pytest.mark.timeout(300)  # it waits for five conditions in a row
def test_files_expire_and_are_deleted_on_a_running_server(start) -> None:  # type: ignore[no-untyped-def]
    stack = start("gpu0", "io", RETENTION_HOURS="0.0003")
    image = {"kind": "img2img", "strength": 0.5, "steps": 2, "image": data_url()}
    short, kept = stack.submit(retention="hours", **image), stack.submit(retention="keep", **image)
    first, second = stack.wait(short), stack.wait(kept)
    assert (first["retention"], second["retention"], second["expires_at"]) == ("hours", "keep", None)
    assert first["expires_at"] > first["finished_at"]
    wait_for(lambda: not any(short in name for name in stored(stack)), "the outputs to expire")
    gone = stack.get(f"/v1/jobs/{short}/result")
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "result_expired")
    assert (stack.status(short)["state"], stack.status(short)["outputs"]) == ("succeeded", [])
    copy = stack.get(f"/v1/jobs/{kept}/result")
    assert (copy.status_code, copy.headers["Cache-Control"]) == (200, "private, max-age=31536000, immutable")
    stack.store.client.hset(keys.JOB + kept, "expires_at", 1)
    assert "max-age=0" in stack.get(f"/v1/jobs/{kept}/result").headers["Cache-Control"]
    assert len([name for name in stored(stack) if name.startswith("inputs/")]) == 1

    answer = stack.delete(f"/v1/jobs/{kept}").json()
    assert (answer["deleted"], answer["changed"]) == (True, True)
    assert stack.get(f"/v1/jobs/{kept}").status_code == 404
    assert stack.get(f"/v1/jobs/{kept}/result").json()["error"]["code"] == "job_not_found"
    wait_for(lambda: len(stored(stack)) == 1, "its outputs to go")
    (name,) = stored(stack)
    assert name.startswith("inputs/")
    end_grace(stack, name)
    wait_for(lambda: stored(stack) == [], "all files to go")
    again = stack.delete(f"/v1/jobs/{kept}").json()
    assert (again["deleted"], again["changed"]) == (True, False)
    assert stack.post(id=kept, prompt="x").status_code == 409

    running = stack.endless()
    stack.delete(f"/v1/jobs/{running}")
    wait_for(lambda: stack.get(f"/v1/jobs/{running}").status_code == 404, "the running job to go")
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    assert stack.delete("/v1/jobs/never").status_code == 404
    with pytest.raises(ObjectNotFound):
        LocalStore(stack.settings.paths.objects_dir).stat("outputs/none")
