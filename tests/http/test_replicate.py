"""Replicate's API over HTTP: predictions, models, files, streams and errors."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from werkzeug.test import TestResponse

from app.protocols.replicate import predictions
from jobs.outbound.webhook import ENDS, STARTED
from jobs.prediction_view import STATUS, progress_bar, version_of
from jobs.states import JobState
from tests.support.pictures import PNG
from tests.support.receiver import SECRET
from tests.support.service import Service, first_key, key, later

INPUT = {"prompt": "a red circle"}
MP4 = b"\0\0\0\x18ftypmp42" + bytes(range(100))


def create(service: Service, model: str = "any/tiny-image", **more: Any) -> dict[str, Any]:
    """Create a prediction; return it. ``headers`` are sent, other arguments are its input."""
    headers = more.pop("headers", None)
    response = service.post(f"/v1/models/{model}/predictions", json={"input": {**INPUT, **more}}, headers=headers)
    assert response.status_code == 201, response.text
    return dict(response.get_json())


def read(service: Service, prediction: dict[str, Any]) -> dict[str, Any]:
    return dict(service.json(f"/v1/predictions/{prediction['id']}"))


def request_of(service: Service, prediction: dict[str, Any]) -> dict[str, Any]:
    return dict(service.job(prediction["id"])["request"])


def upload(service: Service, content: bytes = PNG, **options: Any) -> TestResponse:
    form = {"content": (io.BytesIO(content), "a.png", "image/png"), "metadata": '{"a": 1}'}
    return service.post("/v1/files", data=form, content_type="multipart/form-data", **options)


def test_what_is_kept_of_a_prediction_is_not_shown_to_clients_of_lightx2v(service: Service) -> None:
    made = create(service)
    assert "owner" not in service.json("/v1/tasks/")[made["id"]]["message"]


def test_every_state_has_a_word_that_clients_know() -> None:
    assert set(STATUS) == set(JobState)
    assert set(STATUS.values()) == {"starting", "processing", "succeeded", "failed", "canceled"}


@pytest.mark.parametrize(("done", "line"), [(0, "  0%|          | 0/8"), (3, " 37%|███       | 3/8"),
                                            (8, "100%|██████████| 8/8")])  # fmt: skip
def test_a_progress_bar(done: int, line: str) -> None:
    assert progress_bar(done, 8) == line


def test_a_prediction_from_start_to_end(service: Service) -> None:
    made = create(service, seed=7)
    assert (made["status"], made["output"], made["logs"]) == ("starting", None, "Using seed: 7\n")
    assert (made["model"], made["version"]) == ("any/tiny-image", version_of("tiny-image"))
    assert made["urls"]["get"] == f"http://localhost/v1/predictions/{made['id']}"
    service.start(step=1)
    running = read(service, made)
    assert (running["status"], running["logs"].splitlines()[-1]) == ("processing", " 25%|██        | 1/4")
    service.finish()
    done = read(service, made)
    assert (done["status"], done["error"], done["logs"].splitlines()[-1]) == (
        "succeeded", None, "100%|██████████| 4/4")  # fmt: skip
    assert done["metrics"].keys() == {"predict_time", "total_time"}
    assert done["completed_at"] >= done["started_at"]
    (url,) = done["output"]
    assert service.get(url).data == PNG


def test_a_video_is_one_address(service: Service) -> None:
    made = create(service, "any/tiny-video", num_frames=17, fps=8)
    service.finish(content=MP4, media_type="video/mp4", suffix="mp4")
    done = read(service, made)
    assert done["output"].startswith("http://localhost/v1/jobs/")
    assert (done["input"]["num_frames"], done["input"]["fps"]) == (17, 8)


def test_every_input_has_its_effect(service: Service) -> None:
    sent = {"negative_prompt": "blur", "seed": 3, "num_inference_steps": 6, "guidance_scale": 2.5, "width": 48,
            "height": 64, "num_outputs": 2, "output_format": "jpg", "output_quality": 60}  # fmt: skip
    made = create(service, **sent)
    used = request_of(service, made)
    assert {**sent, "output_format": "jpeg", "prompt": "a red circle"}.items() <= made["input"].items()
    assert (used["steps"], used["num_images"], used["output_format"]) == (6, 2, "jpeg")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"steps": 5, "guidance": 2}, {"steps": 5, "guidance_scale": 2}),
        ({"size": "48x64"}, {"width": 48, "height": 64}),
        ({"aspect_ratio": "2:1"}, {"width": 48, "height": 24}),
        ({"image": f"data:image/png;base64,{base64.b64encode(PNG).decode()}", "prompt_strength": 0.5},
         {"kind": "img2img", "strength": 0.5}),
    ],
)  # fmt: skip
def test_other_names_of_inputs(service: Service, sent: dict[str, Any], expected: dict[str, Any]) -> None:
    used = request_of(service, create(service, **sent))
    assert {name: used[name] for name in expected} == expected


def test_a_duration_gives_the_frames(service: Service) -> None:
    used = request_of(service, create(service, "any/tiny-video", duration=2, frames_per_second=8))
    assert (used["frames"], used["fps"]) == (17, 8)


def test_unknown_inputs_are_said_in_the_log(service: Service) -> None:
    assert "Warning: unknown input 'go_fast' was ignored" in create(service, go_fast=True)["logs"]


@pytest.mark.parametrize(
    "version", [version_of("tiny-image"), "tiny-image", "me/tiny-image", f"me/tiny-image:{version_of('tiny-image')}"]
)
def test_a_version_names_a_model(service: Service, version: str) -> None:
    response = service.post("/v1/predictions", json={"version": version, "input": INPUT})
    owner = "me" if version.startswith("me/") else "framemill"
    assert (response.status_code, response.get_json()["model"]) == (201, f"{owner}/tiny-image")


@pytest.mark.parametrize("version", ["nothing", "me/tiny-image:1", "a/b/c", ""])
def test_an_unknown_version_is_not_found(service: Service, version: str) -> None:
    response = service.post("/v1/predictions", json={"version": version, "input": INPUT})
    assert (response.status_code, response.get_json()["status"]) == (404, 404)


def test_wrong_inputs_are_named(service: Service) -> None:
    body = {"input": {"num_inference_steps": 0, "aspect_ratio": "2:1", "output_format": "bmp"}}
    response = service.post("/v1/models/a/tiny-image/predictions", json=body)
    error = response.get_json()
    assert (response.status_code, error["title"], error["status"]) == (422, "Input validation failed", 422)
    names = {problem["field"] for problem in error["invalid_fields"]}
    assert names == {"input.num_inference_steps", "input.output_format", "input.prompt"}
    assert service.post("/v1/predictions", json={"version": "tiny-image"}).status_code == 422
    assert service.post("/v1/models/a/tiny-image/predictions", data=b"{").status_code == 400


def test_a_client_that_waits_receives_the_end(service: Service) -> None:
    with later(service.finish):
        done = create(service, headers={"Prefer": "wait=60"})
    assert (done["status"], len(done["output"])) == ("succeeded", 1)


def test_a_wait_that_is_too_short_ends_with_starting(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that asked to wait take ``processing`` for the end."""
    monkeypatch.setattr(predictions, "_WAIT_SHARE", 0.01)
    with later(service.start):
        made = create(service, headers={"Prefer": "wait"})
    assert made["status"] == "starting"
    assert read(service, made)["status"] == "processing"


def test_small_outputs_are_data_if_they_are_to_be(service: Service) -> None:
    made = create(service, output_data_uri=True)
    service.finish()
    assert read(service, made)["output"] == [f"data:image/png;base64,{base64.b64encode(PNG).decode()}"]


def test_a_prediction_is_stopped(service: Service) -> None:
    waiting, running = create(service), create(service)
    stopped = service.post(f"/v1/predictions/{running['id']}/cancel").get_json()
    assert (stopped["status"], stopped["error"], stopped["completed_at"] is not None) == ("canceled", None, True)
    service.fail()
    failed = read(service, waiting)
    assert (failed["status"], failed["error"]) == ("failed", "it broke")
    assert service.post("/v1/predictions/unknown/cancel").status_code == 404


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("1m30s", 90), ("1h", 3600)])
def test_cancel_after_limits_the_time(service: Service, text: str, seconds: float) -> None:
    made = create(service, headers={"Cancel-After": text})
    assert service.store.get(made["id"]).max_run_s == seconds
    service.start()
    service.fail(code="run_timeout")
    assert read(service, made)["status"] == "canceled"


@pytest.mark.parametrize("text", ["4", "1s", "soon", "-5"])
def test_a_wrong_time_is_refused(service: Service, text: str) -> None:
    body = {"input": INPUT}
    response = service.post("/v1/models/a/tiny-image/predictions", json=body, headers={"Cancel-After": text})
    assert response.get_json()["invalid_fields"][0]["field"] == "Cancel-After"


def test_the_list_has_pages(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "PAGE", 2)
    made = [create(service)["id"] for _ in range(3)]
    first = service.json("/v1/predictions")
    second = service.json(first["next"])
    found = [one["id"] for one in [*first["results"], *second["results"]]]
    assert (sorted(found), second["next"], first["previous"]) == (sorted(made), None, None)
    assert service.get("/v1/predictions?cursor=x").status_code == 422


def test_a_model_describes_its_input(service: Service) -> None:
    model = service.json("/v1/models/me/tiny-image")
    assert (model["owner"], model["name"], model["visibility"]) == ("me", "tiny-image", "public")
    version = model["latest_version"]
    schemas = version["openapi_schema"]["components"]["schemas"]
    steps = schemas["Input"]["properties"]["num_inference_steps"]
    assert (steps["type"], steps["minimum"], steps["maximum"], steps["default"]) == ("integer", 1, 100_000, 4)
    assert schemas["Output"]["type"] == "array"
    assert "image" in schemas["Input"]["properties"]
    assert service.json("/v1/models/me/tiny-image/versions")["results"] == [version]
    assert service.json(f"/v1/models/me/tiny-image/versions/{version['id']}") == version
    video = service.json("/v1/models/me/tiny-video")["latest_version"]["openapi_schema"]["components"]["schemas"]
    assert (video["Output"]["type"], "num_frames" in video["Input"]["properties"]) == ("string", True)
    for path in ("/v1/models/me/nothing", "/v1/models/me/tiny-image/versions/1", "/v1/models/me/nothing/versions"):
        assert service.get(path).status_code == 404


def test_commands_of_models_keep_their_paths(service: Service) -> None:
    assert service.get("/v1/models/tiny-image/load").status_code == 405
    assert "models" in service.json("/v1/models")


def test_a_file_is_an_input(service: Service) -> None:
    response = upload(service)
    file = response.get_json()
    assert (response.status_code, file["size"], file["content_type"], file["metadata"]) == (
        201, len(PNG), "image/png", {"a": 1})  # fmt: skip
    assert service.json(file["urls"]["get"]) == file
    assert service.json("/v1/files")["results"] == [file]
    made = create(service, image=file["urls"]["get"], prompt_strength=0.5)
    assert request_of(service, made)["kind"] == "img2img"
    assert service.get(made["input"]["image"]).data == PNG
    assert service.delete(f"/v1/files/{file['id']}").status_code == 204
    for call in (service.get, service.delete):
        assert call(f"/v1/files/{file['id']}").status_code == 404
    assert service.json("/v1/files")["results"] == []


def test_wrong_files_are_refused(service: Service) -> None:
    assert upload(service, b"no picture").get_json()["invalid_fields"][0]["field"] == "content"
    assert service.post("/v1/files", json={}).status_code == 422
    for metadata in ("[1]", "{", '{"a": ' * 9000):
        form = {"content": (io.BytesIO(PNG), "a.png"), "metadata": metadata}
        refused = service.post("/v1/files", data=form, content_type="multipart/form-data")
        assert refused.get_json()["invalid_fields"][0]["field"] == "metadata"


def test_the_name_of_a_file_has_a_bound(service: Service) -> None:
    for length, status in ((255, 201), (256, 422)):
        form = {"content": (io.BytesIO(PNG), "a.png"), "filename": "n" * length}
        response = service.post("/v1/files", data=form, content_type="multipart/form-data")
        assert response.status_code == status
    assert response.get_json()["invalid_fields"][0]["field"] == "filename"


def test_files_and_predictions_belong_to_their_key(service: Service) -> None:
    boss = first_key(service)
    shop, other = (key(service, name, admin=boss) for name in ("shop", "other"))
    file = upload(service, headers=shop).get_json()
    made = create(service, headers=shop)
    for headers, status in ((shop, 200), (other, 404), ({"Authorization": "Bearer wrong"}, 401), ({}, 401)):
        for path in (f"/v1/files/{file['id']}", f"/v1/predictions/{made['id']}"):
            response = service.get(path, headers=headers)
            assert response.status_code == status
            assert status == 200 or response.get_json()["status"] == status
    older = {"Authorization": shop["Authorization"].replace("Bearer", "Token")}
    assert service.get("/v1/predictions", headers=older).status_code == 200
    refused = service.post(
        "/v1/models/a/tiny-image/predictions", json={"input": {**INPUT, "image": file["urls"]["get"]}}, headers=other
    )
    assert refused.get_json()["invalid_fields"][0]["field"] == "input.image"
    service.finish()
    done = service.json(f"/v1/predictions/{made['id']}", headers=shop)
    assert service.get(done["output"][0]).data == PNG  # signed
    assert service.get(done["urls"]["stream"], buffered=True).status_code == 200
    assert service.get(f"/v1/predictions/{made['id']}/stream").status_code == 401


def test_a_stream_tells_all(service: Service) -> None:
    made = create(service)
    with later(service.finish):
        events = read_stream(service, f"/v1/predictions/{made['id']}/stream")
    names = [name for name, _ in events]
    assert (names[0], names[-2:], events[-1][1]) == ("logs", ["output", "done"], "{}")
    assert events[-2][1].startswith("http://localhost/v1/jobs/")
    failed = create(service)
    service.fail()
    events = read_stream(service, f"/v1/predictions/{failed['id']}/stream")
    assert events[-2:] == [("error", "it broke"), ("done", '{"reason": "error"}')]


def read_stream(service: Service, path: str) -> list[tuple[str, str]]:
    """Return the names and data of all events of a stream."""
    blocks = service.app.test_client(use_cookies=False).get(path).text.split("\n\n")
    lines = [[line.partition(": ") for line in block.splitlines()] for block in blocks]
    fields = [{name: value for name, _, value in block} for block in lines]
    return [(found["event"], found.get("data", "")) for found in fields if "event" in found]


@pytest.mark.parametrize(
    ("asked", "events"),
    [
        ({}, (STARTED, *ENDS)),
        ({"webhook_events_filter": ["completed"]}, ENDS),
        ({"webhook_events_filter": ["start", "output"]}, (STARTED, ENDS[0])),
    ],
)
def test_webhooks(services: Callable[..., Service], asked: dict[str, Any], events: tuple[str, ...]) -> None:
    service = services(WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW="127.0.0.1")
    body = {"input": INPUT, "webhook": "http://127.0.0.1:9/hook", **asked}
    made = service.post("/v1/models/a/tiny-image/predictions", json=body).get_json()
    webhook = service.store.get(made["id"]).webhook
    assert webhook is not None
    assert set(webhook.events) == set(events)


def test_a_webhook_needs_a_secret(service: Service) -> None:
    body = {"input": INPUT, "webhook": "http://127.0.0.1:9/hook"}
    response = service.post("/v1/models/a/tiny-image/predictions", json=body)
    assert response.get_json()["invalid_fields"][0]["field"] == "webhook"


def test_a_paused_prediction_is_starting_and_keeps_its_progress(service: Service) -> None:
    made = create(service, num_inference_steps=4)
    service.start()
    service.pause()
    paused = read(service, made)
    assert (paused["status"], paused["output"], paused["completed_at"]) == ("starting", None, None)
    assert paused["logs"].endswith(f"{progress_bar(2, 4)}\n")
    service.resume(made["id"])
    service.finish()
    assert read(service, made)["status"] == "succeeded"
