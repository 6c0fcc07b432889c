"""Generates and edits with huggingface_hub, as its documentation shows. Arguments: address of the server, a key."""

from __future__ import annotations

import asyncio
import io
import json
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

from huggingface_hub import AsyncInferenceClient, ImageToImageTargetSize, ImageToVideoTargetSize, InferenceClient
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError
from huggingface_hub.inference._providers import PROVIDERS
from huggingface_hub.inference._providers.hf_inference import HFInferenceBinaryInputTask, HFInferenceTask

SERVER, KEY = sys.argv[1:3]
#: Longest wait for a condition, seconds.
PATIENCE_S = 60.0


def client(model: str = "tiny-image", **options: Any) -> InferenceClient:
    return InferenceClient(model=f"{SERVER}/hf/{model}", **{"api_key": KEY, **options})


def native(path: str, method: str = "GET") -> Any:
    request = urllib.request.Request(SERVER + path, method=method, headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        return json.load(response)


def jobs() -> list[dict[str, Any]]:
    return list(native("/v1/jobs?limit=500")["jobs"])


def refused(call: Any, status: int, words: str) -> None:
    try:
        call()
    except HfHubHTTPError as exc:
        assert exc.response.status_code == status, exc
        assert words in str(exc), exc
    else:
        raise AssertionError(f"not refused: {words}")


def generate() -> bytes:
    options = {"negative_prompt": "blur", "width": 48, "height": 64, "num_inference_steps": 3, "guidance_scale": 2.5,
               "seed": 7}  # fmt: skip
    picture = client().text_to_image("a red circle", **options)
    assert (picture.size, picture.format) == ((48, 64), "PNG")
    assert client().text_to_image("a red circle", **options).tobytes() == picture.tobytes()
    other = client().text_to_image("a red circle", **{**options, "seed": 8})
    assert other.tobytes() != picture.tobytes()
    assert client().text_to_image("a red circle", extra_body={"strength": None}).size == (32, 32)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def edit(content: bytes) -> None:
    path = Path(sys.argv[3]) / "picture.png"
    path.write_bytes(content)
    for image in (content, str(path), path):
        edited = client().image_to_image(
            image, "a cat", negative_prompt="blur", num_inference_steps=4, guidance_scale=3, seed=1, strength=0.5,
            target_size=ImageToImageTargetSize(width=64, height=32),
        )  # fmt: skip
        assert edited.size == (64, 32)
    newest = jobs()[0]["request"]
    assert (newest["kind"], newest["prompt"], newest["strength"]) == ("img2img", "a cat", 0.5), newest
    assert client().image_to_image(content).size[0] > 0  # the bytes alone
    assert jobs()[0]["request"]["kind"] == "img2img"


def videos(content: bytes) -> None:
    PROVIDERS["hf-inference"] |= {
        "text-to-video": HFInferenceTask("text-to-video"),
        "image-to-video": HFInferenceBinaryInputTask("image-to-video"),
    }
    video = client("tiny-video").text_to_video(
        "a star", guidance_scale=2, negative_prompt=["blur", "noise"], num_frames=17, num_inference_steps=2, seed=5
    )
    assert video[4:8] == b"ftyp"
    video = client("tiny-video").image_to_video(
        content, prompt="it moves", negative_prompt="blur", num_frames=9, num_inference_steps=2, guidance_scale=2,
        seed=5, target_size=ImageToVideoTargetSize(width=32, height=64),
    )  # fmt: skip
    assert video[4:8] == b"ftyp"
    used = jobs()[0]["request"]
    assert (used["kind"], used["width"], used["height"], used["frames"]) == ("img2video", 32, 64, 9), used


def errors() -> None:
    refused(lambda: client().text_to_image("x", num_inference_steps=0), 422, "`parameters.num_inference_steps` must be")
    refused(lambda: client("nothing").text_to_image("x"), 404, "model 'nothing' does not exist")
    refused(lambda: client(api_key="wrong").text_to_image("x"), 401, "this key is unknown")
    refused(lambda: client("nowhere").text_to_image("x"), 503, "no slot can run it now")
    refused(lambda: client("broken").text_to_image("x"), 500, "could not be loaded")


def stop() -> None:
    """A job is stopped by its id; a repeat after a timeout receives the job of the first request."""
    ended: list[int] = []

    def wait() -> None:
        try:
            client().text_to_image("it is stopped", num_inference_steps=100_000)
        except HfHubHTTPError as exc:
            ended.append(exc.response.status_code)

    thread = threading.Thread(target=wait)
    thread.start()
    native(f"/v1/jobs/{until(lambda: running('it is stopped'))}/cancel", "POST")
    thread.join(PATIENCE_S)
    assert ended == [409]
    slow = {"prompt": "it takes longer than the client waits", "num_inference_steps": 400}
    try:
        client(timeout=1).text_to_image(**slow)
    except InferenceTimeoutError:
        pass
    else:
        raise AssertionError("no timeout")
    assert client().text_to_image(**slow).size == (32, 32)
    assert len([job for job in jobs() if job["request"]["prompt"] == slow["prompt"]]) == 1


def running(prompt: str) -> str | None:
    found = [job for job in jobs() if job["request"]["prompt"] == prompt and job["progress"]["step"]]
    return found[0]["id"] if found else None


def until(condition: Any) -> Any:
    begun = time.monotonic()
    while time.monotonic() - begun < PATIENCE_S:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain")


async def asynchronous() -> None:
    async with AsyncInferenceClient(model=f"{SERVER}/hf/tiny-image", api_key=KEY) as one:
        pictures = await asyncio.gather(*(one.text_to_image("many", seed=seed) for seed in range(3)))
    assert [picture.size for picture in pictures] == [(32, 32)] * 3


def through_a_restart() -> None:
    """The caller ends the web process meanwhile: the request breaks, and its repeat receives the same job."""
    broken = 0
    while True:
        try:
            client().text_to_image("it outlives a web process", num_inference_steps=300)
            break
        except HfHubHTTPError as exc:
            assert exc.response.status_code == 503, exc  # the server is on its way
        except Exception as exc:
            assert "InferenceTimeoutError" not in type(exc).__name__
        broken += 1
        time.sleep(0.1)
    assert broken
    assert len([job for job in jobs() if job["request"]["prompt"] == "it outlives a web process"]) == 1


if sys.argv[4] == "restart":
    through_a_restart()
else:
    made = generate()
    edit(made)
    videos(made)
    errors()
    stop()
    asyncio.run(asynchronous())
