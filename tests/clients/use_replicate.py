"""Runs models with the replicate package, as its documentation shows. Arguments: address of the server, key, mode."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from typing import Any

import httpx
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.helpers import FileOutput

SERVER, KEY = sys.argv[1:3]
MODEL, VIDEO = "me/tiny-image", "me/tiny-video"
PNG_HEAD = b"\x89PNG"
client = Client(base_url=SERVER, api_token=KEY)
client.poll_interval = 0.1


def fetched(url: str) -> bytes:
    response = httpx.get(url, timeout=60)
    assert response.status_code == 200, response.text
    return response.content


def refused(call: Any, status: int, words: str) -> None:
    try:
        call()
    except ReplicateError as exc:
        assert exc.status == status, exc
        assert words in f"{exc.title} {exc.detail}", exc
    else:
        raise AssertionError(f"not refused: {words}")


def run() -> bytes:
    model = client.models.get(MODEL)
    version = model.latest_version
    assert version is not None
    properties = version.openapi_schema["components"]["schemas"]["Input"]["properties"]
    assert "num_inference_steps" in properties
    assert [one.id for one in model.versions.list()] == [version.id]
    options = {"prompt": "a red circle", "seed": 7, "num_inference_steps": 3, "width": 48, "height": 64}
    (url,) = client.run(MODEL, input=options)
    content = fetched(str(url))
    assert content.startswith(PNG_HEAD)
    for reference in (f"{MODEL}:{version.id}", version):
        (again,) = client.run(reference, input=options)
        assert fetched(str(again)).startswith(PNG_HEAD)
    (data,) = client.run(MODEL, input={**options, "output_data_uri": True})
    assert isinstance(data, FileOutput)
    assert data.read().startswith(PNG_HEAD)
    (polled,) = client.run(MODEL, input={**options, "num_inference_steps": 60}, wait=False)
    assert fetched(str(polled)).startswith(PNG_HEAD)
    (late,) = client.run(MODEL, input={**options, "num_inference_steps": 300}, wait=1)  # polls after a second
    assert fetched(str(late)).startswith(PNG_HEAD)
    video = client.run(VIDEO, input={"prompt": "a star", "num_frames": 17})
    assert fetched(str(video))[4:8] == b"ftyp"
    return content


def edit(content: bytes) -> None:
    file = io.BytesIO(content)
    file.name = "picture.png"
    kept = client.files.create(file, metadata={"a": 1})
    assert (client.files.get(kept.id).size, kept.metadata) == (len(content), {"a": 1})
    assert kept.id in [one.id for one in client.files.list()]
    inputs = {"prompt": "a cat", "prompt_strength": 0.5}
    for image, more in ((kept.urls["get"], {}), (file, {}), (file, {"file_encoding_strategy": "base64"})):
        made = client.models.predictions.create(MODEL, input={**inputs, "image": image}, wait=True, **more)
        assert made.status == "succeeded", made
        assert made.input is not None
        assert made.input["prompt_strength"] == 0.5
    moved = client.run(VIDEO, input={"prompt": "it moves", "image": kept.urls["get"]})
    assert fetched(str(moved))[4:8] == b"ftyp"
    assert client.files.delete(kept.id)
    refused(lambda: client.files.get(kept.id), 404, "does not exist")


def follow() -> None:
    made = client.predictions.create(model=MODEL, input={"prompt": "it is followed", "num_inference_steps": 150})
    seen = []
    while made.status not in ("succeeded", "failed", "canceled"):
        if made.progress and made.status == "processing":
            seen.append(made.progress.current)
        time.sleep(0.05)
        made.reload()
    assert seen == sorted(seen)
    assert 0 < max(seen) <= 150, seen
    assert made.progress is not None
    assert (made.progress.percentage, made.progress.total) == (1.0, 150)
    assert made.metrics is not None
    assert made.metrics["predict_time"] > 0
    events = list(client.stream(MODEL, input={"prompt": "it streams", "num_inference_steps": 60}))
    names = [event.event.value for event in events]
    assert (names[-1], names.count("output")) == ("done", 1), names
    assert names.count("logs") > 2
    assert fetched(str(events[-2].data)).startswith(PNG_HEAD)


def stop() -> None:
    made = client.predictions.create(model=MODEL, input={"prompt": "it is stopped", "num_inference_steps": 100_000})
    while not made.progress:
        time.sleep(0.05)
        made.reload()
    made.cancel()
    made.wait()
    assert (made.status, made.output, made.error) == ("canceled", None, None)


def lists() -> None:
    page = client.predictions.list()
    prompts = [(one.input or {}).get("prompt") for one in page]
    assert {"a red circle", "it is stopped", "it streams"} <= {*prompts}
    assert {one.status for one in page} >= {"succeeded", "canceled"}


def errors() -> None:
    refused(lambda: client.run(MODEL, input={"prompt": "x", "num_inference_steps": 0}), 422, "num_inference_steps")
    refused(lambda: client.run("me/nothing", input={"prompt": "x"}), 404, "model 'nothing' does not exist")
    refused(lambda: client.run(f"{MODEL}:1", input={"prompt": "x"}), 404, "'1' does not exist")
    refused(lambda: Client(base_url=SERVER, api_token="wrong").run(MODEL, input={}), 401, "Unauthenticated")
    try:
        client.run("me/broken", input={"prompt": "x"})
    except ModelError as exc:
        assert exc.prediction.status == "failed"
        assert "could not be loaded" in str(exc)
    else:
        raise AssertionError("it did not fail")


async def asynchronous() -> None:
    inputs = [{"prompt": "many", "seed": seed} for seed in range(3)]
    outputs = await asyncio.gather(*(client.async_run(MODEL, input=one) for one in inputs))
    assert all(fetched(str(output[0])).startswith(PNG_HEAD) for output in outputs)


def through_a_restart() -> None:
    """The caller ends the web process meanwhile; the client polls on."""
    made = client.predictions.create(model=MODEL, input={"prompt": "it outlives a web process",
                                                         "num_inference_steps": 400})  # fmt: skip
    print(made.id, flush=True)
    broken = 0
    while made.status not in ("succeeded", "failed", "canceled"):
        try:
            made.reload()
        except (httpx.TransportError, ReplicateError):
            broken += 1
        time.sleep(0.05)
    assert (made.status, broken > 0) == ("succeeded", True)
    assert made.output is not None
    assert fetched(made.output[0]).startswith(PNG_HEAD)


if sys.argv[3] == "restart":
    through_a_restart()
else:
    picture = run()
    edit(picture)
    follow()
    stop()
    lists()
    errors()
    asyncio.run(asynchronous())
