"""The main task: a request over HTTP becomes a file, for images and videos."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import av
import numpy as np
import pytest
import requests
from PIL import Image

from tests.support.harness import Stack


def _png(width: int = 40, height: int = 24) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


def test_an_image(stack: Stack) -> None:
    response = stack.post(model="tiny-image", prompt="a red circle", seed=7, steps=5, width=48, height=32)
    accepted = response.json()
    assert response.status_code == 201
    assert response.headers["Location"] == accepted["links"]["self"]
    assert accepted["request"]["seed"] == 7
    view = stack.wait(accepted["id"])
    assert (view["state"], view["progress"]["percent"], view["error"]) == ("succeeded", 100, None)
    assert (view["progress"]["step"], view["progress"]["steps"], view["device"], view["slot"]) == (5, 5, "cpu", "gpu0")

    result = stack.get(accepted["links"]["result"])
    assert result.headers["Content-Type"] == "image/png"
    picture = Image.open(io.BytesIO(result.content))
    assert picture.size == (48, 32)
    embedded = json.loads(picture.text["framemill"])  # type: ignore[attr-defined]
    assert (embedded["seed"], embedded["prompt"], embedded["steps"]) == (7, "a red circle", 5)
    [output] = view["outputs"]
    assert output["sha256"] == hashlib.sha256(result.content).hexdigest()
    assert output["bytes"] == len(result.content)


def test_a_video(stack: Stack) -> None:
    job_id = stack.submit(model="tiny-video", prompt="a star", steps=3, frames=17, fps=8)
    view = stack.wait(job_id)
    assert view["state"] == "succeeded", view
    result = stack.get(f"/v1/jobs/{job_id}/result")
    assert result.headers["Content-Type"] == "video/mp4"
    with av.open(io.BytesIO(result.content)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        assert (len(frames), stream.average_rate, stream.codec_context.pix_fmt) == (17, 8, "yuv420p")
        assert json.loads(container.metadata["comment"])["prompt"] == "a star"
    # "faststart": the index precedes the data, so that a player can begin at once.
    assert result.content.index(b"moov") < result.content.index(b"mdat")


def test_the_same_seed_gives_the_same_pixels_and_another_does_not(stack: Stack) -> None:
    ids = [stack.submit(seed=seed, steps=2) for seed in (1, 1, 2)]
    pictures = []
    for job_id in ids:
        stack.wait(job_id)
        pictures.append(np.asarray(Image.open(io.BytesIO(stack.get(f"/v1/jobs/{job_id}/result").content))))
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


def test_a_seed_that_was_not_sent_is_reported_and_reproduces(stack: Stack) -> None:
    first = stack.submit(steps=2)
    seed = stack.wait(first)["request"]["seed"]
    again = stack.submit(steps=2, seed=seed)
    stack.wait(again)
    hashes = [stack.status(job_id)["outputs"][0]["sha256"] for job_id in (first, again)]
    pixels = [Image.open(io.BytesIO(stack.get(f"/v1/jobs/{j}/result").content)).tobytes() for j in (first, again)]
    assert pixels[0] == pixels[1]
    assert hashes[0] != hashes[1]  # the metadata contains the id of the job


@pytest.mark.parametrize("how", ["base64", "data url", "upload"])
def test_an_input_image(stack: Stack, how: str) -> None:
    fields = {"model": "tiny-image", "kind": "img2img", "prompt": "x", "steps": 2, "strength": 0.5}
    if how == "upload":
        response = requests.post(stack.url("/v1/jobs"), data=fields, files={"image": ("in.png", _png())}, timeout=60)
    else:
        text = base64.b64encode(_png()).decode()
        response = stack.post(**fields, image=text if how == "base64" else f"data:image/png;base64,{text}")
    assert response.status_code == 201, response.text
    view = stack.wait(response.json()["id"])
    assert view["state"] == "succeeded", view
    assert view["kind"] == "img2img"


def test_a_video_from_an_image(stack: Stack) -> None:
    text = base64.b64encode(_png(64, 64)).decode()
    job_id = stack.submit(model="tiny-video", prompt="x", steps=2, image=text)
    view = stack.wait(job_id)
    assert (view["state"], view["kind"]) == ("succeeded", "img2video"), view


def test_a_model_that_cannot_be_loaded_fails_with_a_reason_and_the_next_job_runs(stack: Stack) -> None:
    view = stack.wait(stack.submit(model="broken"))
    assert (view["state"], view["error"]["code"]) == ("failed", "model_load_failed")
    assert "/" not in view["error"]["message"]  # no server path
    assert "/broken" in view["error"]["cause"]  # every caller of a server without keys is an admin
    missing = stack.get(view["links"]["result"])
    assert (missing.status_code, missing.json()["error"]["code"]) == (409, "not_ready")
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"


def test_progress_is_seen_while_it_runs(stack: Stack) -> None:
    job_id = stack.endless()
    first = stack.status(job_id)
    later = stack.wait_until(job_id, lambda view: view["progress"]["step"] > first["progress"]["step"], "a later step")
    assert later["state"] == "running"
    assert later["progress"]["stage"] == "denoising"
    assert later["eta_s"] > 0
    assert later["position"] == 0
    stack.cancel(job_id)
