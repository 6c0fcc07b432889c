"""Input files under the names of every protocol: what its clients send becomes the job's inputs."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.api import PATIENCE_S
from tests.support.pictures import JPEG, PNG, WEBP, b64
from tests.support.recordings import sound, video
from tests.support.served_app import ServedApp

MODELS = """
[editor]
executor = "drawing"
kinds = ["edit"]
aliases = ["gpt-image-*", "black-forest-labs/flux-2-pro"]
limits = { images = [1, 3] }
defaults = { steps = 2, width = 32, height = 32 }

[film]
executor = "drawing"
kinds = ["img2video", "video2video"]
aliases = ["wan-video/wan-2.1-flf2v"]
fields = { last_image = "last_image", audio = "audio" }
defaults = { steps = 2, width = 32, height = 32, frames = 3, fps = 8 }
"""
FILM, TONE = video(frames=3), sound("mp3")
GIVEN = [PNG, JPEG, WEBP]
URIS = [f"data:image/png;base64,{b64(content)}" for content in GIVEN]


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve(MODELS)
    app.worker("editor", "film")
    return app


def post(app: ServedApp, path: str, **options: Any) -> requests.Response:
    response = requests.post(app.url(path), timeout=PATIENCE_S, **options)
    assert response.ok, response.text
    return response


def newest(app: ServedApp) -> dict[str, Any]:
    return dict(app.get("/v1/jobs?limit=1").json()["jobs"][0])


def stored(app: ServedApp, *names: str) -> list[bytes]:
    """Return inputs of the newest job."""
    job_id = newest(app)["id"]
    return [app.get(f"/v1/jobs/{job_id}/inputs/{name}").content for name in names]


IMAGES = ("images-0", "images-1", "images-2")


def test_openai_edits_with_several_images(app: ServedApp) -> None:
    files = [("image[]", ("x.png", content)) for content in GIVEN]
    post(app, "/v1/images/edits", data={"model": "gpt-image-1", "prompt": "x"}, files=files)
    assert (newest(app)["kind"], stored(app, *IMAGES)) == ("edit", GIVEN)
    body = {"prompt": "x", "images": [{"image_url": uri} for uri in URIS]}
    post(app, "/v1/images/edits", json=body)
    assert stored(app, *IMAGES) == GIVEN
    refused = requests.post(app.url("/v1/images/edits"), json={**body, "images": URIS * 2}, timeout=PATIENCE_S)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "images")


def test_lightx2v_takes_images_with_commas(app: ServedApp) -> None:
    texts = [b64(PNG), f"data:image/jpeg;base64,{b64(JPEG)}", b64(WEBP)]
    post(app, "/v1/tasks/image", json={"prompt": "x", "image_path": ", ".join(texts)})
    assert (newest(app)["kind"], stored(app, *IMAGES)) == ("edit", GIVEN)
    wrong = {"prompt": "x", "image_path": f"{b64(PNG)},data:image/png;base64,AAAA"}
    refused = requests.post(app.url("/v1/tasks/image"), json=wrong, timeout=PATIENCE_S)
    assert [one["field"] for one in refused.json()["error"]["fields"]] == ["image_path"]


def test_a1111_takes_all_init_images(app: ServedApp) -> None:
    post(app, "/sdapi/v1/img2img", json={"prompt": "x", "init_images": [*map(b64, GIVEN)]})
    job = newest(app)
    assert (job["kind"], job["warnings"], stored(app, *IMAGES)) == ("edit", [], GIVEN)


@pytest.mark.parametrize("name", ["images", "input_images", "image_input"])
def test_replicate_takes_lists(app: ServedApp, name: str) -> None:
    path = "/v1/models/black-forest-labs/flux-2-pro/predictions"
    prediction = post(app, path, json={"input": {"prompt": "x", name: URIS}}).json()
    assert stored(app, *IMAGES) == GIVEN
    assert [requests.get(link, timeout=PATIENCE_S).content for link in prediction["input"]["images"]] == GIVEN


def test_hugging_face_sends_one_image(app: ServedApp) -> None:
    body = {"inputs": base64.b64encode(PNG).decode(), "parameters": {"prompt": "x"}}
    post(app, "/hf/editor", json=body)
    assert (newest(app)["kind"], stored(app, "images-0")) == ("edit", [PNG])


def test_mcp_edits_several_images(app: ServedApp) -> None:
    images = {"image": b64(PNG), "images": [b64(JPEG), b64(WEBP)]}
    arguments = {"model": "editor", "prompt": "x", "wait_s": 0, **images}
    call = {"name": "edit_image", "arguments": arguments}
    post(app, "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    assert stored(app, *IMAGES) == GIVEN


# ---- videos


def test_lightx2v_sends_last_frames_videos_and_sound(app: ServedApp) -> None:
    task = {"prompt": "x", "image_path": b64(PNG), "last_frame_path": b64(JPEG), "audio_path": b64(TONE)}
    post(app, "/v1/tasks/video", json=task)
    assert (newest(app)["kind"], stored(app, "image", "last_image", "audio")) == ("img2video", [PNG, JPEG, TONE])
    files = {"image_file": ("a.png", PNG), "last_frame_file": ("b.jpg", JPEG), "audio_file": ("c.mp3", TONE)}
    post(app, "/v1/tasks/video/form", data={"prompt": "x"}, files=files)
    assert (newest(app)["kind"], stored(app, "image", "last_image", "audio")) == ("img2video", [PNG, JPEG, TONE])
    post(app, "/v1/tasks/video", json={"prompt": "x", "video_path": b64(FILM)})
    assert (newest(app)["kind"], stored(app, "video")) == ("video2video", [FILM])


def test_lightx2v_takes_the_sound_of_one_speaker(app: ServedApp) -> None:
    speaker = {"audio": b64(TONE), "mask": b64(PNG)}
    task = {"prompt": "x", "image_path": b64(PNG), "audio_path": "other.mp3", "talk_objects": [speaker]}
    warnings = post(app, "/v1/tasks/video", json=task).json()["warnings"]
    assert warnings == [
        "talk_objects[0].mask has no effect here: the sound of a single speaker drives the whole picture"
    ]
    assert stored(app, "image", "audio") == [PNG, TONE]
    two = {**task, "audio_path": "", "talk_objects": [speaker] * 2}
    refused = requests.post(app.url("/v1/tasks/video"), json=two, timeout=PATIENCE_S)
    [problem] = refused.json()["error"]["fields"]
    assert (refused.status_code, problem["field"]) == (422, "talk_objects")
    assert problem["rule"].startswith("must have one speaker: a job has one sound")


@pytest.mark.parametrize("name", ["last_image", "last_frame_image", "end_image", "last_frame"])
def test_replicate_sends_last_images(app: ServedApp, name: str) -> None:
    sent = {"prompt": "x", "image": URIS[0], name: f"data:image/jpeg;base64,{b64(JPEG)}"}
    path = "/v1/models/wan-video/wan-2.1-flf2v/predictions"
    prediction = post(app, path, json={"input": sent}).json()
    assert stored(app, "image", "last_image") == [PNG, JPEG]
    assert requests.get(prediction["input"]["last_image"], timeout=PATIENCE_S).content == JPEG


def test_replicate_sends_videos_and_sound(app: ServedApp) -> None:
    sent = {"video": f"data:video/mp4;base64,{b64(FILM)}", "audio": f"data:audio/mpeg;base64,{b64(TONE)}"}
    post(app, "/v1/models/me/film/predictions", json={"input": {"prompt": "x", **sent}})
    assert (newest(app)["kind"], stored(app, "video", "audio")) == ("video2video", [FILM, TONE])
    schema = app.get("/v1/models/me/film").json()["latest_version"]["openapi_schema"]
    inputs = schema["components"]["schemas"]["Input"]["properties"]
    assert inputs.keys() >= {"image", "last_image", "video", "audio"}


def test_mcp_sends_last_images_and_videos(app: ServedApp) -> None:
    cases = (("img2video", {"image": PNG, "last_image": JPEG}), ("video2video", {"video": FILM, "audio": TONE}))
    for kind, files in cases:
        arguments = {"model": "film", "prompt": "x", "wait_s": 0, **{name: b64(file) for name, file in files.items()}}
        call = {"name": "generate_video", "arguments": arguments}
        post(app, "/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
        assert (newest(app)["kind"], stored(app, *files)) == (kind, [*files.values()])
