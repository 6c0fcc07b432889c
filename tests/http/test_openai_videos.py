"""OpenAI's API for videos: submit, show, list, content, remix, stop and delete."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from PIL import Image

from app.protocols.openai.wire.states import VIDEO_WORDS
from jobs.callers import Caller
from jobs.states import JobState
from jobs.store.credentials.api_keys import KeyRing
from tests.support.api import ENDLESS_STEPS, PATIENCE_S, wait_for
from tests.support.openai_models import MODELS, png
from tests.support.pictures import b64
from tests.support.recordings import sound, video
from tests.support.served_app import ServedApp

FILM, SOUND = b64(video(frames=14, fps=8, size=(64, 32))), b64(sound("mp3"))
PICTURE = b64(png())
#: Models that take more than a first image.
MORE = """
[changes]
kinds = ["video2video"]
executor = "drawing"
aliases = ["sora-*"]
frames_step = 4
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8 }
limits = { frames = [5, 33], width = [32, 64], height = [32, 64] }

[ends]
kinds = ["text2video", "img2video"]
executor = "drawing"
fields = { last_image = "last_image", audio = "audio" }
defaults = { steps = 4, width = 32, height = 32, frames = 9, fps = 8 }
"""
#: Fields of a video that OpenAI's API has as well.
FIELDS = {"id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "size", "seconds",
          "prompt", "remixed_from_video_id", "error"}  # fmt: skip


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve(MODELS)
    app.worker("painter", "film", "broken")
    return app


@pytest.fixture(autouse=True)
def _idle(app: ServedApp) -> Iterator[None]:
    """Leave the shared app idle after each test."""
    yield
    app.workers[0].step_s = 0.0
    app.cancel_all(waiting=True)


def call(app: ServedApp, method: str, path: str = "", **options: Any) -> requests.Response:
    return requests.request(method, app.url(f"/v1/videos{path}"), timeout=PATIENCE_S, **options)


def created(app: ServedApp, **fields: Any) -> dict[str, Any]:
    response = call(app, "POST", json={"prompt": "a star", **fields})
    assert response.status_code == 200, response.text
    return dict(response.json())


def shown(app: ServedApp, video_id: str) -> dict[str, Any]:
    response = call(app, "GET", f"/{video_id}")
    assert response.status_code == 200, response.text
    return dict(response.json())


def finished(app: ServedApp, video_id: str) -> dict[str, Any]:
    """Return a video when it has ended."""
    return dict(wait_for(lambda: (v := shown(app, video_id))["status"] in ("completed", "failed") and v, "the video"))


def test_every_state_has_a_word() -> None:
    assert VIDEO_WORDS.keys() == set(JobState)


def test_a_video_is_made(app: ServedApp) -> None:
    video = created(app, model="sora-2", seconds="2", size="64x32", seed=7)
    assert video.keys() >= FIELDS
    assert (video["object"], video["model"], video["size"], video["seconds"]) == ("video", "film", "64x32", "2.125")
    done = finished(app, video["id"])
    assert (done["status"], done["progress"], done["error"], done["seed"]) == ("completed", 100, None, 7)
    assert done["completed_at"] >= done["created_at"] > 1_700_000_000
    assert app.status(video["id"])["request"]["frames"] == 17, "of the rule 8 n + 1, nearest to 2 s of 8 frames"


@pytest.mark.parametrize(("sent", "frames", "fps"), [
    ({}, 9, 8), ({"seconds": 1.5, "fps": 16}, 25, 16), ({"num_frames": 25, "seconds": "1"}, 25, 8),
    ({"frames": 17}, 17, 8),
])  # fmt: skip
def test_the_length_is_seconds_or_frames(app: ServedApp, sent: dict[str, Any], frames: int, fps: float) -> None:
    request = app.status(created(app, **sent)["id"])["request"]
    assert (request["frames"], request["fps"]) == (frames, fps)


def test_an_image_begins_the_video(app: ServedApp) -> None:
    data_url = f"data:image/png;base64,{base64.b64encode(png()).decode()}"
    forms: list[dict[str, Any]] = [
        {"data": {"prompt": "x"}, "files": {"input_reference": ("upload", png(), "application/octet-stream")}},
        {"data": {"prompt": "x", "input_reference[image_url]": data_url}},
        {"json": {"prompt": "x", "input_reference": {"image_url": data_url}}},
        {"json": {"prompt": "x", "input_reference": data_url}},
    ]
    for form in forms:
        response = call(app, "POST", **form)
        assert response.status_code == 200, response.text
        assert app.status(response.json()["id"])["kind"] == "img2video"


def inputs_of(app: ServedApp, job_id: str) -> set[str]:
    """Return the names of a job's input files."""
    names = ("image", "last_image", "audio", "video")
    return {name for name in names if app.get(f"/v1/jobs/{job_id}/inputs/{name}").ok}


def test_a_video_as_reference_is_changed(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS + MORE)
    app.worker("film", "changes", "ends")
    content = base64.b64decode(FILM)
    forms: list[dict[str, Any]] = [
        {"data": {"prompt": "x"}, "files": {"input_reference": ("upload", content, "application/octet-stream")}},
        {"data": {"prompt": "x", "input_reference[video_url]": f"data:video/mp4;base64,{FILM}"}},
        {"json": {"prompt": "x", "input_reference": {"image_url": f"data:video/mp4;base64,{FILM}"}}},
        {"json": {"prompt": "x", "input_reference": {"video_url": FILM}, "model": "sora-2"}},
        {"json": {"prompt": "x", "input_reference": FILM, "seconds": "1", "size": "32x32"}},
        {"json": {"prompt": "x", "video": FILM}},
        {"json": {"prompt": "x", "input_reference": b64(video("gif", frames=14, fps=8, size=(64, 32)))}},
    ]
    for form in forms:
        response = call(app, "POST", **form)
        assert response.status_code == 200, response.text
        job = app.status(response.json()["id"])
        is_cut = "seconds" in form.get("json", {})
        wanted = ("changes", "video2video", 9, 32, 32) if is_cut else ("changes", "video2video", 13, 64, 32)
        request = job["request"]
        assert (job["model"], job["kind"], request["frames"], request["width"], request["height"]) == wanted
    made = finished(app, created(app, model="film", size="64x32", frames=17)["id"])
    again = app.status(created(app, input_reference=f"job:{made['id']}")["id"])
    assert (again["kind"], again["request"]["frames"]) == ("video2video", 17)
    longer = call(app, "POST", json={"prompt": "x", "input_reference": FILM, "seconds": "3"})
    assert (longer.status_code, longer.json()["error"]["param"]) == (400, "seconds")
    assert "the video has so many" in longer.json()["error"]["message"]


def test_last_images_and_sounds_are_fields_of_their_own(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS + MORE)
    app.worker("film", "changes", "ends")
    sent = {"input_reference": PICTURE, "last_image": {"image_url": f"data:image/png;base64,{PICTURE}"}}
    job = app.status(created(app, **sent)["id"])
    assert (job["model"], job["kind"]) == ("ends", "img2video")
    assert inputs_of(app, job["id"]) == {"image", "last_image"}
    files = {"audio": ("speech.mp3", base64.b64decode(SOUND)), "last_image": ("b.png", png())}
    form = call(app, "POST", data={"prompt": "x", "model": "ends"}, files={**files, "input_reference": ("a", png())})
    assert form.status_code == 200, form.text
    assert inputs_of(app, form.json()["id"]) == {"audio", "image", "last_image"}
    assert app.status(created(app, audio=SOUND)["id"])["kind"] == "text2video"
    lonely = call(app, "POST", json={"prompt": "x", "model": "ends", "last_image": PICTURE})
    assert (lonely.status_code, lonely.json()["error"]["param"]) == (400, "image")


def test_the_progress_is_that_of_the_run(app: ServedApp) -> None:
    app.workers[0].step_s = 0.05
    video = created(app, steps=60)
    waiting = created(app)
    assert waiting["status"] == "queued"
    assert waiting["position"] == 1
    running = wait_for(lambda: (v := shown(app, video["id"]))["progress"] > 10 and v, "some steps")
    assert (running["status"], running["progress"] < 100) == ("in_progress", True)
    response = call(app, "GET", f"/{video['id']}")
    assert 250 <= int(response.headers["OpenAI-Poll-After-Ms"]) <= 5000
    early = call(app, "GET", f"/{video['id']}/content")
    assert (early.status_code, early.json()["error"]["code"]) == (400, "video_not_ready")


def test_content_is_the_video_a_picture_or_a_sheet_of_frames(app: ServedApp) -> None:
    video = created(app, frames=33, size="64x32")
    finished(app, video["id"])
    whole = call(app, "GET", f"/{video['id']}/content", headers={"Accept": "application/binary"})
    assert (whole.headers["Content-Type"], whole.content[4:8]) == ("video/mp4", b"ftyp")
    part = call(app, "GET", f"/{video['id']}/content?variant=video", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, whole.content[:10])
    sheet = call(app, "GET", f"/{video['id']}/content?variant=spritesheet")
    with Image.open(io.BytesIO(sheet.content)) as image:
        assert (sheet.headers["Content-Type"], image.format, image.size) == ("image/jpeg", "JPEG", (256, 128))
    wrong = call(app, "GET", f"/{video['id']}/content?variant=audio")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "variant")
    none = call(app, "GET", f"/{video['id']}/content?variant=thumbnail")
    assert none.status_code == 404, "the drawn videos of this worker have none"


def test_a_failed_video_is_no_error_of_http(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS.replace("[broken]\nkinds = [\"text2img\"]", "[broken]\nkinds = [\"text2video\"]"))
    app.worker("broken")
    video = finished(app, created(app, model="broken")["id"])
    assert video["status"] == "failed"
    assert video["error"] == {"code": "model_load_failed", "message": "no such folder"}
    refused = call(app, "GET", f"/{video['id']}/content")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "model_load_failed")


def test_videos_are_listed_in_both_orders_page_by_page(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS)
    app.worker("film", "painter")
    empty = call(app, "GET").json()
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    made = []
    for number in range(5):
        made.append(created(app, prompt=f"video {number}")["id"])
        app.submit(model="painter")  # images are not listed
    for order, expected in (("desc", made[::-1]), ("asc", made)):
        pages, after = [], {}
        while True:
            page = call(app, "GET", params={"limit": 2, "order": order, **after}).json()
            pages.append([video["id"] for video in page["data"]])
            assert (page["first_id"], page["last_id"]) == (pages[-1][0], pages[-1][-1])
            if not page["has_more"]:
                break
            after = {"after": page["last_id"]}
        assert pages == [expected[:2], expected[2:4], expected[4:]]
    assert [video["id"] for video in call(app, "GET").json()["data"]] == made[::-1]
    for query in ({"limit": 0}, {"limit": 101}, {"order": "up"}, {"after": "nothing"}):
        wrong = call(app, "GET", params=query)
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, next(iter(query)))


def test_deleting_stops_the_work(app: ServedApp) -> None:
    app.workers[0].step_s = 0.05
    video = created(app, steps=ENDLESS_STEPS)
    wait_for(lambda: shown(app, video["id"])["status"] == "in_progress", "the run")
    for _ in range(2):
        response = call(app, "DELETE", f"/{video['id']}")
        assert response.json() == {"id": video["id"], "object": "video.deleted", "deleted": True}
    wait_for(lambda: call(app, "GET", f"/{video['id']}").status_code == 404, "its worker")
    app.workers[0].step_s = 0.0
    assert finished(app, created(app)["id"])["status"] == "completed", "the worker is free"
    assert call(app, "DELETE", "/nothing").json()["error"]["code"] == "job_not_found"


def test_a_stopped_video_stays_listed(app: ServedApp) -> None:
    app.workers[0].step_s = 0.05
    video = created(app, steps=ENDLESS_STEPS)
    wait_for(lambda: shown(app, video["id"])["status"] == "in_progress", "the run")
    response = call(app, "POST", f"/{video['id']}/cancel")
    assert (response.status_code, response.json()["status"]) == (200, "failed")
    assert shown(app, video["id"])["error"]["code"] == "cancelled"


def test_a_remix_has_another_prompt_and_the_same_seed(app: ServedApp) -> None:
    old = created(app, seed=5, frames=17)
    response = call(app, "POST", f"/{old['id']}/remix", json={"prompt": "a moon"})
    assert response.status_code == 200, response.text
    new = response.json()
    assert (new["remixed_from_video_id"], new["prompt"], new["seed"]) == (old["id"], "a moon", 5)
    assert app.status(new["id"])["request"]["frames"] == 17
    assert finished(app, new["id"])["remixed_from_video_id"] == old["id"]
    assert call(app, "POST", f"/{old['id']}/remix", json={}).json()["error"]["param"] == "prompt"
    assert call(app, "POST", "/nothing/remix", json={"prompt": "x"}).status_code == 404


def test_an_image_is_no_video(app: ServedApp) -> None:
    job_id = app.submit(model="painter")
    assert call(app, "GET", f"/{job_id}").status_code == 404
    assert call(app, "DELETE", f"/{job_id}").status_code == 404


#: Body → param, and a part of the message.
@pytest.mark.parametrize(("body", "param", "part"), [
    ({"prompt": None}, "prompt", "is required"),
    ({"seconds": "long"}, "seconds", "must be a number"),
    ({"seconds": 0}, "seconds", "more than 0"),
    ({"seconds": "12"}, "seconds", "must give frames between 9 and 33"),
    ({"size": "1280x720"}, "size", "must give a width between 32 and 64"),
    ({"input_reference": {"file_id": "x"}}, "input_reference", "must be an image or a video"),
    ({"input_reference": FILM}, "model", "no model here has video2video"),
    ({"last_image": {"file_id": "x"}}, "last_image", "must be an image"),
    ({"last_image": PICTURE, "input_reference": PICTURE}, "last_image", "is not an input of model film for img2video"),
    ({"audio": SOUND}, "audio", "is not an input of model film for text2video"),
    ({"audio": 3}, "audio", "must be a sound"),
    ({"model": "painter"}, "model", "does not offer text2video"),
    ({"promt": "x"}, "promt", "did you mean prompt"),
])  # fmt: skip
def test_a_refusal_names_param_and_rule(app: ServedApp, body: dict[str, Any], param: str, part: str) -> None:
    response = call(app, "POST", json={"prompt": "x", **body})
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param
    assert part in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/edits", "/extensions", "/characters"])
def test_what_no_model_can_do_is_no_video_of_that_name(app: ServedApp, path: str) -> None:
    response = call(app, "POST", path, json={"prompt": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported")


def test_a_repeated_submission_is_one_video(app: ServedApp) -> None:
    headers = {"Idempotency-Key": "film"}
    ids = {call(app, "POST", json={"prompt": "x"}, headers=headers).json()["id"] for _ in range(2)}
    assert len(ids) == 1
    assert created(app, prompt="x")["id"] != created(app, prompt="x")["id"], "two requests"


def test_videos_of_other_keys_are_not_found(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS)
    secrets = [KeyRing(app.store).create(Caller(key_id=name)) for name in ("a", "b")]
    first, second = ({"Authorization": f"Bearer {secret}"} for secret in secrets)
    wait_for(lambda: call(app, "GET").status_code == 401, "the first key")
    video = call(app, "POST", json={"prompt": "x"}, headers=first).json()
    for method, path in (("GET", ""), ("GET", "/content"), ("POST", "/cancel"), ("POST", "/remix"), ("DELETE", "")):
        response = call(app, method, f"/{video['id']}{path}", headers=second, json={"prompt": "x"})
        assert response.status_code == 404, path
    assert call(app, "GET", headers=second).json()["data"] == []
    assert len(call(app, "GET", headers=first).json()["data"]) == 1


def test_a_paused_video_is_queued_and_keeps_its_progress(app: ServedApp) -> None:
    app.workers[0].step_s = 0.1
    video = created(app, steps=20)
    wait_for(lambda: shown(app, video["id"])["progress"] > 10, "some steps")
    app.pause(video["id"])
    paused = shown(app, video["id"])
    assert (paused["status"], paused["completed_at"], paused["error"]) == ("queued", None, None)
    assert 10 < paused["progress"] < 100
    app.workers[0].step_s = 0.0
    app.resume(video["id"])
    assert finished(app, video["id"])["status"] == "completed"
