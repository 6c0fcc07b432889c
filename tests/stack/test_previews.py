"""Previews through the complete stack: requested at submission or during a run; for the owner only, never later."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.store import keys
from tests.stack.test_events import messages
from tests.support.harness import ENDLESS_STEPS, Stack, wait_for


def picture(content: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(content))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB")).astype(float)


def newest(stack: Stack, job_id: str) -> Any:
    """Request previews until there is one."""
    return wait_for(lambda: (r := stack.get(f"/v1/jobs/{job_id}/preview")).status_code == 200 and r, "a preview")


def left_behind(stack: Stack) -> list[str]:
    return [name for prefix in (keys.PREVIEW, keys.PREVIEW_WANTED) for name in stack.store.client.keys(prefix + "*")]


@pytest.mark.parametrize("model", ["tiny-image", "tiny-video"])
def test_a_running_job_shows_what_it_has(stack: Stack, model: str) -> None:
    job_id = stack.submit(model=model, steps=ENDLESS_STEPS, preview=True, height=32, width=64)
    view = stack.wait_until(job_id, lambda view: view["preview"], "a preview")
    assert 0 < view["preview"]["step"] <= view["progress"]["steps"]
    first = stack.get(view["preview"]["url"])
    assert (first.status_code, first.headers["Content-Type"]) == (200, "image/jpeg")
    assert picture(first.content).shape == (32, 64, 3)

    step = int(first.headers["Preview-Step"])
    later = wait_for(lambda: int((r := newest(stack, job_id)).headers["Preview-Step"]) > step and r, "the next one")
    assert later.headers["ETag"] != first.headers["ETag"]
    assert "no-cache" in later.headers["Cache-Control"]
    stack.cancel(job_id)
    assert stack.status(job_id)["preview"] is None
    gone = stack.get(f"/v1/jobs/{job_id}/preview")
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "no_preview")
    assert left_behind(stack) == []


def test_nobody_asks_so_nothing_is_made(stack: Stack) -> None:
    with stack.paused():  # until somebody watches
        stream = messages(stack, f"/v1/jobs/{stack.submit(steps=300)}/events")
        seen = [next(stream)]
    seen += stream
    assert {event for _, event, _ in seen} == {"status", "state", "progress", "end"}
    assert left_behind(stack) == []


def test_a_look_turns_them_on_and_they_end_with_the_interest(stack: Stack) -> None:
    job_id = stack.endless()
    assert stack.status(job_id)["preview"] is None
    first = newest(stack, job_id)
    stack.store.client.delete(keys.PREVIEW_WANTED + job_id)  # as if its time to live had passed
    last = int(first.headers["Preview-Step"])

    def silent() -> bool:
        nonlocal last
        before, last = last, int(stack.store.client.hget(keys.PREVIEW + job_id, "step"))
        step = stack.status(job_id)["progress"]["step"]
        stack.wait_until(job_id, lambda view: view["progress"]["step"] > step + 200, "two hundred more steps")
        return last == before

    wait_for(silent, "no new preview in two hundred steps")
    stack.cancel(job_id)


@pytest.mark.parametrize("how", ["1", "data"])
def test_a_stream_asks_and_is_sent_them(stack: Stack, how: str) -> None:
    job_id = stack.endless()
    found = []
    stream = messages(stack, f"/v1/jobs/{job_id}/events?preview={how}")
    for _, event, data in stream:
        if event == "preview":
            found.append(data)
        if len(found) == 2:
            break
    stream.close()
    stack.cancel(job_id)
    assert found[0]["preview"]["step"] < found[1]["preview"]["step"]
    assert found[0]["preview"]["url"].startswith(f"/v1/jobs/{job_id}/preview?")
    if how == "data":
        head, _, content = found[0]["preview"]["data"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert picture(base64.b64decode(content)).shape == (32, 32, 3)
    else:
        assert "data" not in found[0]["preview"]


def test_the_result_is_the_same_with_previews(stack: Stack) -> None:
    def pixels(**fields: Any) -> bytes:
        view = stack.wait(stack.submit(steps=40, seed=5, **fields))
        return Image.open(io.BytesIO(stack.get(view["links"]["result"]).content)).tobytes()

    assert pixels(preview=True) == pixels(preview=False)
