"""Tasks over LightX2V's protocol in its newest version (profile queue): what they take and make."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.lightx2v_calls import IMAGE, MP4, create, finish, status
from tests.support.pictures import PNG, animated, b64, encoded, picture
from tests.support.service import Service


@pytest.mark.parametrize("path", ["/v1/tasks/video/", "/v1/tasks/image/"])
@pytest.mark.parametrize("field", ["image_path", "image", "image_mask_path"])
@pytest.mark.parametrize("value", [{"a": 1}, [1], 7, True])
def test_an_image_of_another_type_is_refused(service: Service, path: str, field: str, value: Any) -> None:
    response = service.post(path, json={"prompt": "x", field: value, "infer_steps": 0})
    problems = response.get_json()["error"]["fields"]
    assert (response.status_code, {problem["field"] for problem in problems}) == (422, {field, "infer_steps"})


@pytest.mark.parametrize("path", ["/v1/tasks/video/", "/v1/tasks/video", "/v1/tasks/", "/v1/tasks"])
def test_a_video_from_text(service: Service, path: str) -> None:
    created = create(
        service, path, prompt="a cat", negative_prompt="blur", image_path="", infer_steps="3", seed=42,
        target_video_length=9, save_result_path="./cats/boxing.mp4",
    )  # fmt: skip
    task_id = created["task_id"]
    assert created == {
        "task_id": task_id, "task_status": "pending", "save_video_path": "cats/boxing.mp4",
        "save_result_path": "cats/boxing.mp4", "status": "pending", "state": "queued", "model": "tiny-video",
        "position": 0, "eta_s": None, "waiting_for": None, "warnings": [],
    }  # fmt: skip
    finish(service)
    ended = status(service, task_id)
    assert (ended["status"], ended["success"], ended["error"], ended["error_type"]) == ("completed", True, None, "")
    for name in ("start_time", "end_time", "completion_time"):
        assert len(ended[name]) == len("2026-01-01T00:00:00.000000"), name
    assert ended["save_result_path"] == ended["save_video_path"] == "cats/boxing.mp4"
    request = ended["request"]
    assert (request["kind"], request["steps"], request["seed"], request["frames"]) == ("text2video", 3, 42, 9)
    result = service.get(f"/v1/tasks/{task_id}/result")
    assert (result.data, result.headers["Content-Type"]) == (MP4, "video/mp4")
    assert result.headers["Content-Disposition"] == "attachment; filename=boxing.mp4"
    part = service.get("/v1/files/download/cats/boxing.mp4", headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.data) == (206, MP4[:10])
    assert part.headers["Content-Disposition"] == "attachment; filename=boxing.mp4"


def test_the_status_has_the_keys_of_all_versions_and_the_progress(service: Service) -> None:
    task_id = create(service, infer_steps=4)["task_id"]
    service.start(step=2)
    body = status(service, task_id)
    assert set(body) == {
        "task_id", "status", "success", "start_time", "end_time", "completion_time", "error", "error_type",
        "save_video_path", "save_result_path", "state", "model", "stage", "step", "steps", "percent", "position",
        "waiting_for", "eta_s", "slot", "device", "warnings", "request",
    }  # fmt: skip
    assert (body["status"], body["step"], body["steps"], body["percent"]) == ("processing", 2, 4, 50)
    assert (body["end_time"], body["success"], body["slot"]) == (None, False, "gpu0")


def test_the_newest_file_of_a_path_replaces_the_earlier_one(service: Service) -> None:
    first, second, failed = (create(service, infer_steps=1, save_result_path="twice.mp4", seed=i) for i in range(3))

    def content(path: str) -> bytes | None:
        response = service.get(path)
        return response.data if response.status_code == 200 else None

    def by_path() -> bytes | None:
        return content("/v1/files/download/twice.mp4")

    assert {task["save_result_path"] for task in (first, second, failed)} == {"twice.mp4"}
    assert by_path() is None
    for name in (b"first", b"second"):
        service.finish(content=name, media_type="video/mp4", suffix="mp4")
        assert by_path() == name
    service.delete(f"/v1/tasks/{failed['task_id']}")
    assert by_path() == b"second"  # only a new file replaces one
    results = [content(f"/v1/tasks/{task['task_id']}/result") for task in (first, second)]
    assert results == [b"first", b"second"]  # unlike in LightX2V's service, each task keeps its own
    service.delete(f"/v1/jobs/{first['task_id']}")
    assert by_path() == b"second"
    service.delete(f"/v1/jobs/{second['task_id']}")
    assert by_path() is None


def test_a_default_path_has_the_id_and_the_ending(service: Service) -> None:
    video, image = create(service), create(service, "/v1/tasks/image/")
    native = service.submit()
    assert video["save_result_path"] == f"{video['task_id']}.mp4"
    assert image["save_result_path"] == f"{image['task_id']}.png"
    finish(service)
    service.finish()
    service.finish()
    for path, task_id in ((video["save_result_path"], video["task_id"]), (f"{native}.png", native)):
        assert service.get(f"/v1/files/download/{path}").data == service.get(f"/v1/tasks/{task_id}/result").data


@pytest.mark.parametrize(
    ("sent", "path"),
    [("/data/out/x.mp4", "data/out/x.mp4"), ("C:\\out\\y", "out/y.mp4"), ("./a//b.avi", "a/b.avi.mp4")],
)
def test_an_output_stays_inside_the_outputs(service: Service, sent: str, path: str) -> None:
    body = create(service, save_result_path=sent)
    assert body["save_result_path"] == path
    assert any(path in warning for warning in body["warnings"]) == (not sent.startswith("."))


@pytest.mark.parametrize("path", ["../x.mp4", "a/../../x.mp4", "a/", "x\n.mp4", "a" * 300])
def test_an_output_outside_is_refused(service: Service, path: str) -> None:
    refused = service.post("/v1/tasks/video/", json={"save_result_path": path})
    assert refused.status_code == 422
    assert refused.get_json()["error"]["fields"][0]["field"] == "save_result_path"


@pytest.mark.parametrize(
    ("path", "code"),
    [("..%2f..%2fetc/passwd", 403), ("a/..%2f..%2fx", 403), ("nothing.mp4", 404), ("", 404), ("%2fetc/passwd", 404)],
)
def test_files_outside_are_not_served(service: Service, path: str, code: int) -> None:
    answer = service.get(f"/v1/files/download/{path}")
    assert answer.status_code == code
    assert answer.get_json()["detail"]  # without a path it is a route of another protocol, whose errors have this too


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_video_from_an_image_in_the_body(service: Service, prefix: str) -> None:
    task = create(service, "/v1/tasks/", image_path=prefix + IMAGE, target_shape=[32, 64])
    request = status(service, task["task_id"])["request"]
    assert (request["kind"], request["width"], request["height"]) == ("img2video", 64, 32)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_picture_of_an_animation_is_the_input(service: Service, kind: str) -> None:
    head = f"data:image/{kind.lower()};base64,"
    task = create(service, image_path=head + base64.b64encode(animated(kind)).decode())
    key = service.store.get(task["task_id"]).request.image
    assert str(key).endswith(".png")
    with Image.open(io.BytesIO(b"".join(service.objects.read(str(key))))) as stored:
        assert (stored.format, stored.mode, stored.size) == ("PNG", "RGB", (40, 30))
        assert not getattr(stored, "is_animated", False)
        first = picture() if kind == "PNG" else None
        assert first is None or stored.tobytes() == first.tobytes()


def test_the_list_shows_what_was_sent(service: Service, tmp_path: Path) -> None:
    fields = {"use_prompt_enhancer": True, "num_fragments": 2, "video_duration": 9}
    sent = create(service, image_path=IMAGE, **fields)["task_id"]
    plain = create(service)["task_id"]
    form = {"prompt": "x", "use_prompt_enhancer": "true", "image_file": (io.BytesIO(PNG), "a.png")}
    uploaded = service.post("/v1/tasks/video/form", data=form).get_json()["task_id"]
    tasks = service.json("/v1/tasks/")
    assert {name: tasks[sent]["message"][name] for name in fields} == fields
    assert tasks[uploaded]["message"]["use_prompt_enhancer"] is True
    name = tasks[sent]["message"]["image_path"]
    assert (len(name), name[-4:]) == (68, ".png")
    assert tasks[uploaded]["message"]["image_path"] == name
    assert tasks[plain]["message"]["use_prompt_enhancer"] is False
    assert (tasks[plain]["message"]["image_path"], tasks[plain]["error_type"]) == ("", "")


def test_a_shape_out_of_the_limits_names_the_side(service: Service) -> None:
    fields = {"prompt": "x", "target_shape": [1000, 2000]}
    problems = service.post("/v1/tasks/image/", json=fields).get_json()["error"]["fields"]
    assert sorted((problem["field"], problem["rule"]) for problem in problems) == [
        ("target_shape", "must give a height between 16 and 128 for model tiny-image"),
        ("target_shape", "must give a width between 16 and 128 for model tiny-image"),
    ]


@pytest.mark.parametrize("path", ["/v1/tasks/form", "/v1/tasks/video/form", "/v1/tasks/form/"])
def test_a_form_with_an_upload(service: Service, path: str) -> None:
    form = {"prompt": "a cat", "infer_steps": "2", "save_video_path": "form.mp4", "use_prompt_enhancer": "false",
            "image_file": (io.BytesIO(PNG), "a.png")}  # fmt: skip
    body = status(service, service.post(path, data=form).get_json()["task_id"])
    assert (body["request"]["kind"], body["request"]["steps"], body["request"]["seed"]) == ("img2video", 2, 42)
    assert body["warnings"] == ["25% of the image (40 × 30) was cut off: the output is 32 × 32"]


def test_a_portrait_gives_a_portrait(service: Service) -> None:
    portrait = b64(encoded(picture(size=(72, 128)), "PNG"))
    found = {}
    for fields in ({}, {"target_shape": [32, 64]}, {"aspect_ratio": "2:1"}):
        task = create(service, "/v1/tasks/", image_path=portrait, **fields)
        request = status(service, task["task_id"])["request"]
        found[next(iter(fields), "")] = (request["width"], request["height"], request.get("resize"))
    # The original crops, too, where the shapes differ.
    assert found == {"": (32, 64, "crop"), "target_shape": (64, 32, "crop"), "aspect_ratio": (64, 32, "crop")}


def test_a_form_needs_its_part_but_not_a_file_in_it(service: Service) -> None:
    missing = service.post("/v1/tasks/form", data={"prompt": "x"}, content_type="multipart/form-data")
    assert (missing.status_code, missing.get_json()["error"]["fields"][0]["field"]) == (422, "image_file")
    head = b"--b\r\nContent-Disposition: form-data; name="
    empty = head + b'"prompt"\r\n\r\nx\r\n' + head + b'"image_file"; filename=""\r\n\r\n\r\n--b--\r\n'
    video = service.post("/v1/tasks/form", data=empty, content_type="multipart/form-data; boundary=b").get_json()
    assert status(service, video["task_id"])["request"]["kind"] == "text2video"
    parts = {"prompt": "x", "infer_steps": "1"}
    image = service.post("/v1/tasks/image/form", data=parts, content_type="multipart/form-data")
    request = status(service, image.get_json()["task_id"])["request"]
    assert (request["kind"], request["seed"]) == ("text2img", 42)


def test_only_fields_that_were_sent_count(service: Service) -> None:
    first, second = create(service, infer_steps=2, seed=5, target_video_length=17), create(service)
    asked, default = (status(service, task["task_id"])["request"] for task in (first, second))
    assert (asked["steps"], asked["frames"], asked["seed"]) == (2, 17, 5)
    assert (default["steps"], default["frames"], default["fps"]) == (4, 9, 8.0)


def test_some_fields_of_the_native_api_are_taken_as_well(service: Service) -> None:
    task = create(service, "/v1/tasks/", model="tiny-video", steps=2, frames=17, fps=4, width=64, height=32, priority=3)
    request = status(service, task["task_id"])["request"]
    assert [request[name] for name in ("steps", "frames", "fps", "width", "height")] == [2, 17, 4, 64, 32]
    assert service.job(task["task_id"])["priority"] == 3


def test_fields_without_effect_and_unknown_ones_are_named(service: Service) -> None:
    task = create(service, "/v1/tasks/", use_prompt_enhancer=True, num_fragments=1, resize_mode="fixed_shape",
                  num_frames=5, image_path=None)  # fmt: skip
    assert task["warnings"] == [
        "unknown field 'num_frames' was ignored",
        "use_prompt_enhancer has no effect here",
        "resize_mode has no effect here",
    ]
    assert status(service, task["task_id"])["warnings"] == task["warnings"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"audio_path": "a.mp3"}, "audio_path"),
        ({"video_path": "a.mp4"}, "video_path"),
        ({"last_frame_path": "a.png"}, "last_frame_path"),
        ({"talk_objects": [{"audio": "a.mp3"}]}, "talk_objects[0].audio"),
        ({"talk_objects": [{"mask": "a.png"}]}, "talk_objects[0].audio"),
        ({"talk_objects": [{"audio": "a", "mask": "b"}, {"audio": "c", "mask": "d"}]}, "talk_objects"),
        ({"talk_objects": {"audio": "a"}}, "talk_objects"),
        ({"infer_steps": "many"}, "infer_steps"),
        ({"infer_steps": 0}, "infer_steps"),
        ({"target_video_length": 4000}, "target_video_length"),
        ({"target_shape": [32]}, "target_shape"),
        ({"target_shape": [32, 4000]}, "target_shape"),
        ({"aspect_ratio": "wide"}, "aspect_ratio"),
        ({"image_path": "/etc/passwd"}, "image_path"),
        ({"image_path": "http://127.0.0.1:1/x.png"}, "image_path"),
        ({"image_path": "https://a.example/1.png,https://a.example/2.png"}, "image_path"),
        ({"image_path": "iVBORw0KGgoAAA"}, "image_path"),
        ({"task_id": "queue", "image_path": ""}, "task_id"),
        ({"slot": "gpu9"}, "slot"),
    ],
)
def test_refusals_name_the_clients_own_field(service: Service, fields: dict[str, Any], named: str) -> None:
    refused = service.post("/v1/tasks/video/", json={"prompt": "x", **fields})
    assert refused.status_code == 422, refused.text
    assert named in {problem["field"] for problem in refused.get_json()["error"]["fields"]}
    assert isinstance(refused.get_json()["detail"], str)


@pytest.mark.parametrize("data", [b"{", b"[1]", b'"x"'])
def test_bodies_that_are_no_object(service: Service, data: bytes) -> None:
    answer = service.post("/v1/tasks/video/", data=data, content_type="application/json")
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (400, "malformed_body")


@pytest.mark.parametrize("fields", [{}, {"model": "tiny-video"}, {"image_path": ""}])
def test_every_task_of_the_oldest_route_is_a_video(service: Service, fields: dict[str, Any]) -> None:
    task = create(service, "/v1/tasks/", prompt="x", **fields)
    assert task["task_status"] == "pending"
    assert task["save_result_path"] == f"{task['task_id']}.mp4"
    assert status(service, task["task_id"])["request"]["kind"] == "text2video"


def test_a_used_id(service: Service) -> None:
    assert create(service, task_id="AB12-CD34")["task_id"] == "AB12-CD34"
    again = service.post("/v1/tasks/video/", json={"prompt": "x", "task_id": "AB12-CD34"})
    assert (again.status_code, again.get_json()["detail"]) == (409, "Task ID AB12-CD34 already exists")
