"""Last images, videos and sounds as inputs: what models take, what is refused, and what a video decides."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.media import recordings
from tests.support.pictures import PNG, b64
from tests.support.recordings import sound, video
from tests.support.service import Service
from tests.support.tiny import written

MODELS = """
[ends]
executor = "drawing"
kinds = ["text2video", "img2video"]
fields = { last_image = "last_image", img2video = { audio = "audio" } }
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8 }

[changes]
executor = "drawing"
kinds = ["video2video"]
frames_step = 4
defaults = { steps = 4, width = 64, height = 64, fps = 8 }
limits = { frames = [5, 17], width = [16, 128], height = [16, 128] }

[weights]
source = "./tiny-video"
kinds = ["video2video", "edit"]
size_multiple_px = 32

[extends]
executor = "drawing"
kinds = ["video2video"]
fields = { frames = "num_frames" }
frames_step = 8
defaults = { steps = 4, width = 64, height = 64, fps = 8 }
"""


@pytest.fixture(scope="module")
def models_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("models"), MODELS)


@pytest.fixture
def app(services: Callable[..., Service], models_file: Path) -> Service:
    app = services(MODELS_FILE=models_file, MAX_INPUT_S="3", MAX_INPUT_FRAMES="40", MAX_INPUT_PX="10000")
    app.open("gpu0", "tiny-image", "tiny-video", "ends", "changes", "extends", "weights")
    return app


def send(app: Service, **fields: Any) -> dict[str, Any]:
    response = app.post("/v1/jobs", json={"prompt": "x", **fields})
    assert response.status_code == 201, response.text
    return dict(response.get_json())


def refusal(app: Service, **fields: Any) -> list[tuple[str, str]]:
    response = app.post("/v1/jobs", json={"prompt": "x", **fields})
    assert response.status_code == 422, response.text
    assert app.redis.zcard("framemill:jobs") == 0
    return [(one["field"], one["rule"]) for one in response.get_json()["error"]["fields"]]


def test_a_last_image_and_a_sound_are_inputs_of_models_that_name_an_argument_for_them(app: Service) -> None:
    tone = sound("mp3")
    job = send(app, model="ends", image=b64(PNG), last_image=b64(PNG), audio=b64(tone))
    assert (job["kind"], job["warnings"]) == ("img2video", [])
    for name, content, media_type in (("last_image", PNG, "image/png"), ("audio", tone, "audio/mpeg")):
        response = app.get(f"/v1/jobs/{job['id']}/inputs/{name}")
        assert (response.data, response.mimetype) == (content, media_type)
    assert not job["request"].keys() & {"image", "last_image", "audio"}
    # Without a model, the first that takes all of them does.
    assert send(app, kind="img2video", image=b64(PNG), last_image=b64(PNG))["model"] == "ends"


def test_other_models_refuse_them(app: Service) -> None:
    both = {"image": b64(PNG), "last_image": b64(PNG)}
    assert refusal(app, model="tiny-video", **both) == [
        ("last_image", "is not an input of model tiny-video for img2video")
    ]
    assert refusal(app, model="tiny-image", kind="img2img", **both)[0][0] == "last_image"
    assert refusal(app, model="ends", kind="text2video", audio=b64(sound())) == [
        ("audio", "is not an input of model ends for text2video")
    ]
    assert refusal(app, model="ends", last_image=b64(PNG)) == [
        ("image", "is required: img2video needs an input image")
    ]


@pytest.mark.parametrize(("kind", "media_type"), [("mp4", "video/mp4"), ("webm", "video/webm"), ("gif", "image/gif")])
def test_a_video_decides_about_shape_and_length(app: Service, kind: str, media_type: str) -> None:
    content = video(kind, frames=14, fps=8, size=(96, 48))
    form = {"model": "changes", "prompt": "x", "video": (io.BytesIO(content), "x")}
    job = app.post("/v1/jobs", data=form).get_json()
    request = job["request"]
    assert (job["kind"], request["width"], request["height"], request["frames"]) == ("video2video", 96, 48, 13)
    response = app.get(f"/v1/jobs/{job['id']}/inputs/video")
    assert response.data == content
    assert response.mimetype == media_type or kind == "gif"
    again = send(app, model="changes", video=b64(content), fps=4, width=32, height=32)["request"]
    assert (again["frames"], again["width"], again["strength"]) == (5, 32, 0.6)


def test_a_long_video_is_cut_and_a_longer_output_needs_a_model_that_extends(app: Service) -> None:
    content = b64(video(frames=24, fps=8))
    job = send(app, model="changes", video=content)
    assert (job["request"]["frames"], len(job["warnings"])) == (17, 1)
    short = b64(video(frames=9, fps=8))
    app.cancel(job["id"])
    app.empty()
    app.open("gpu0", "tiny-image", "tiny-video", "ends", "changes", "extends", "weights")
    assert refusal(app, model="changes", video=short, frames=13) == [
        ("frames", "must be at most 9: the video has so many at 8 frames per second")
    ]
    assert send(app, model="extends", video=short, frames=25)["request"]["frames"] == 25


def test_an_output_of_a_job_is_a_video(app: Service) -> None:
    first = send(app, model="tiny-video")
    app.finish(content=video(frames=9, fps=8), media_type="video/mp4", suffix="mp4")
    assert send(app, model="changes", video=f"job:{first['id']}")["request"]["frames"] == 9
    image = app.submit()
    app.finish()
    response = app.post("/v1/jobs", json={"model": "changes", "prompt": "x", "video": f"job:{image}"})
    assert response.status_code == 422


REFUSED = [
    ({"video": b64(PNG)}, "must be an MP4, WebM or GIF video"),
    ({"video": b64(sound("m4a"))}, "has no pictures"),
    ({"video": b64(video()[:700])}, "is damaged or incomplete (mp4)"),
    ({"video": b64(b"\x1a\x45\xdf\xa3" + bytes(300))}, "is damaged or incomplete (webm)"),
    ({"video": b64(video(frames=40, fps=10))}, "must not be longer than 3 s"),
    ({"video": b64(video(frames=41, fps=30))}, "must not have more than 40 frames"),
    ({"video": b64(video(size=(128, 96)))}, "must not have more than 10000 pixels a frame"),
    ({"video": "AAAA"}, "must be an MP4, WebM or GIF video"),
    ({"video": "job:" + "0" * 24}, "names no job of yours"),
    ({"video": "http://127.0.0.1:1/x.mp4"}, "could not be downloaded"),
]


@pytest.mark.parametrize(("fields", "rule"), REFUSED, ids=[rule[:40] for _, rule in REFUSED])
def test_wrong_videos_are_refused_before_anything_is_queued(app: Service, fields: dict[str, str], rule: str) -> None:
    [(field, said)] = refusal(app, model="changes", **fields)
    assert field == "video"
    assert said.startswith(rule)


@pytest.mark.parametrize(("content", "rule"), [
    (PNG, "must be a WAV, MP3, OGG, M4A or WebM sound"),
    (sound(seconds=3.5, rate_hz=8000), "must not be longer than 3 s"),
    (sound()[:44], "is damaged or incomplete (wav)"),
    (video(), "has no sound"),
    (b"", "must not be empty"),
])  # fmt: skip
def test_wrong_sounds_are_refused(app: Service, content: bytes, rule: str) -> None:
    sent = {"audio": f"data:audio/wav;base64,{b64(content)}"}
    assert refusal(app, model="ends", image=b64(PNG), **sent) == [("audio", rule)]


@pytest.mark.parametrize("kind", ["wav", "mp3", "ogg", "m4a", "webm"])
def test_sounds_of_every_format(app: Service, kind: str) -> None:
    tone = sound(kind)
    job = send(app, model="ends", image=b64(PNG), audio=b64(tone))
    assert app.get(f"/v1/jobs/{job['id']}/inputs/audio").data == tone


def test_models_say_what_each_kind_takes(app: Service) -> None:
    inputs = {one["name"]: one["inputs"] for one in app.json("/v1/models")["models"]}
    assert inputs["ends"] == {"text2video": [], "img2video": ["image", "last_image", "audio"]}
    assert inputs["changes"] == {"video2video": ["video"]}


@pytest.mark.parametrize("kind", ["video2video", "edit"])
def test_a_model_that_needs_a_file_is_loaded_without_one_and_checked_with_a_grey_one(app: Service, kind: str) -> None:
    loaded = app.post("/v1/models/weights/load", json={})
    assert loaded.status_code == 202, loaded.text
    assert app.store.get(loaded.get_json()["slots"][0]["job_id"]).request.inputs == ()
    checked = app.post("/v1/models/weights/check", json={"kind": kind})
    assert checked.status_code == 202, checked.text
    request = app.store.get(checked.get_json()["slots"][0]["job_id"]).request
    [content] = [b"".join(app.objects.read(key)) for key in request.inputs]
    if kind == "edit":
        assert content.startswith(b"\x89PNG")
    else:
        assert recordings.checked(content, "video", app.settings).size == (64, 64)
