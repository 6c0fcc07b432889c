"""LightX2V's protocol as its newest version speaks it (profile queue): every route, code and body."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from jobs.states import JobState
from tests.support.harness import ENDLESS_STEPS, Stack, wait_for


def png(colour: str = "red", side: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(buffer, "PNG")
    return buffer.getvalue()


def call(stack: Stack, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, stack.url(path), timeout=60, allow_redirects=False, **options)


def finish(stack: Stack, task_id: str) -> dict[str, Any]:
    """Poll as LightX2V's clients do; the status answer of the end."""

    def look() -> Any:
        body = stack.get(f"/v1/tasks/{task_id}/status").json()
        return body if body["status"] in ("completed", "failed", "cancelled") else None

    return dict(wait_for(look, f"the end of {task_id}"))


@pytest.mark.parametrize("path", ["/v1/tasks/video/", "/v1/tasks/video", "/v1/tasks/", "/v1/tasks"])
def test_a_video_from_text(stack: Stack, path: str) -> None:
    sent = {"prompt": "a cat", "negative_prompt": "blur", "image_path": "", "infer_steps": "3", "seed": 42,
            "target_video_length": 9, "save_result_path": "./cats/boxing.mp4"}  # fmt: skip
    created = call(stack, "POST", path, json=sent)
    assert created.status_code == 200, created.text
    body = created.json()
    assert body["task_status"] == "pending"
    assert body["save_result_path"] == body["save_video_path"]
    ended = finish(stack, body["task_id"])
    assert (ended["status"], ended["success"], ended["error"], ended["error_type"]) == ("completed", True, None, None)
    for name in ("start_time", "end_time", "completion_time"):
        assert len(ended[name]) == len("2026-01-01T00:00:00.000000"), name
    assert ended["save_result_path"] == body["save_result_path"]
    request = ended["request"]
    assert (request["kind"], request["steps"], request["seed"], request["frames"]) == ("text2video", 3, 42, 9)
    result = stack.get(f"/v1/tasks/{body['task_id']}/result")
    assert result.content[4:8] == b"ftyp"
    assert result.headers["Content-Type"] == "video/mp4"
    name = body["save_result_path"].rpartition("/")[2]
    assert result.headers["Content-Disposition"] == f"attachment; filename={name}"
    file = stack.get(f"/v1/files/download/{body['save_result_path']}", headers={"Range": "bytes=0-9"})
    assert (file.status_code, file.content) == (206, result.content[:10])


def test_the_same_path_twice_stays_one_file_each(stack: Stack) -> None:
    sent = {"image_path": "", "infer_steps": 1, "save_result_path": "twice.mp4"}
    first, second = (call(stack, "POST", "/v1/tasks/video/", json={**sent, "seed": seed}).json() for seed in (1, 2))
    assert first["save_result_path"] == "twice.mp4"
    assert second["save_result_path"] == f"twice-{second['task_id']}.mp4"
    finish(stack, first["task_id"])
    finish(stack, second["task_id"])
    files = [stack.get(f"/v1/files/download/{task['save_result_path']}").content for task in (first, second)]
    assert files[0] != files[1]
    assert files[0] == stack.get(f"/v1/tasks/{first['task_id']}/result").content


def test_a_default_path_has_the_id_and_the_ending(stack: Stack) -> None:
    video = call(stack, "POST", "/v1/tasks/video/", json={"infer_steps": 1}).json()
    image = call(stack, "POST", "/v1/tasks/image/", json={"infer_steps": 1}).json()
    native = stack.submit(steps=1)
    assert video["save_result_path"] == f"{video['task_id']}.mp4"
    assert image["save_result_path"] == f"{image['task_id']}.png"
    for path, task_id in ((video["save_result_path"], video["task_id"]), (f"{native}.png", native)):
        stack.wait(task_id)
        assert stack.get(f"/v1/files/download/{path}").content == stack.get(f"/v1/tasks/{task_id}/result").content


@pytest.mark.parametrize(
    ("sent", "path"),
    [("/data/out/x.mp4", "data/out/x.mp4"), ("C:\\out\\y", "out/y.mp4"), ("./a//b.avi", "a/b.avi.mp4")],
)
def test_an_output_stays_inside_the_outputs(stack: Stack, sent: str, path: str) -> None:
    body = call(stack, "POST", "/v1/tasks/video/", json={"infer_steps": 1, "save_result_path": sent}).json()
    assert body["save_result_path"] == path
    assert any(path in warning for warning in body["warnings"]) == (not sent.startswith("."))
    finish(stack, body["task_id"])


@pytest.mark.parametrize("path", ["../x.mp4", "a/../../x.mp4", "a/", "x\n.mp4", "a" * 300])
def test_an_output_outside_is_refused(stack: Stack, path: str) -> None:
    refused = call(stack, "POST", "/v1/tasks/video/", json={"save_result_path": path})
    assert refused.status_code == 422
    assert refused.json()["error"]["fields"][0]["field"] == "save_result_path"


@pytest.mark.parametrize(
    ("path", "status"),
    [("..%2f..%2fetc/passwd", 403), ("a/..%2f..%2fx", 403), ("nothing.mp4", 404), ("", 404), ("%2fetc/passwd", 404)],
)
def test_files_outside_are_not_served(stack: Stack, path: str, status: int) -> None:
    answer = call(stack, "GET", f"/v1/files/download/{path}")
    assert (answer.status_code, set(answer.json())) == (status, {"detail", "error"})


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_video_from_an_image_in_the_body(stack: Stack, prefix: str) -> None:
    image = prefix + base64.b64encode(png()).decode()
    sent = {"image_path": image, "infer_steps": 1, "target_shape": [32, 64]}
    body = call(stack, "POST", "/v1/tasks/", json=sent).json()
    request = finish(stack, body["task_id"])["request"]
    assert (request["kind"], request["width"], request["height"]) == ("img2video", 64, 32)


@pytest.mark.parametrize("path", ["/v1/tasks/form", "/v1/tasks/video/form", "/v1/tasks/form/"])
def test_a_form_with_an_upload(stack: Stack, path: str) -> None:
    data = {"prompt": "a cat", "infer_steps": "2", "save_video_path": "form.mp4", "use_prompt_enhancer": "false"}
    body = call(stack, "POST", path, data=data, files={"image_file": ("a.png", png(), "image/png")}).json()
    ended = finish(stack, body["task_id"])
    assert (ended["request"]["kind"], ended["request"]["steps"], ended["request"]["seed"]) == ("img2video", 2, 42)
    assert ended["warnings"] == []


def test_a_form_needs_its_part_but_not_a_file_in_it(stack: Stack) -> None:
    missing = call(stack, "POST", "/v1/tasks/form", data={"prompt": "x"})
    assert (missing.status_code, missing.json()["error"]["fields"][0]["field"]) == (422, "image_file")
    empty = b'--b\r\nContent-Disposition: form-data; name="image_file"; filename=""\r\n\r\n\r\n--b--\r\n'
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    body = call(stack, "POST", "/v1/tasks/form", data=empty, headers=head).json()
    assert finish(stack, body["task_id"])["request"]["kind"] == "text2video"
    image = call(stack, "POST", "/v1/tasks/image/form", data={"infer_steps": "1"}, files={"x": ("", b"")}).json()
    assert finish(stack, image["task_id"])["request"]["kind"] == "text2img"


def test_only_fields_that_were_sent_count(stack: Stack) -> None:
    sent = {"infer_steps": 2, "seed": 5, "target_video_length": 17}
    first = call(stack, "POST", "/v1/tasks/video/", json=sent).json()
    second = call(stack, "POST", "/v1/tasks/video/", json={}).json()
    asked, default = (finish(stack, task["task_id"])["request"] for task in (first, second))
    assert (asked["steps"], asked["frames"], asked["seed"]) == (2, 17, 5)
    assert (default["steps"], default["frames"], default["fps"]) == (4, 9, 8.0)


def test_fields_without_effect_and_unknown_ones_are_named(stack: Stack) -> None:
    sent = {"infer_steps": 1, "use_prompt_enhancer": True, "num_fragments": 1, "resize_mode": "fixed_shape",
            "num_frames": 5, "image_path": None}  # fmt: skip
    body = call(stack, "POST", "/v1/tasks/", json=sent).json()
    assert body["warnings"] == [
        "unknown field 'num_frames' was ignored",
        "use_prompt_enhancer has no effect here",
        "resize_mode has no effect here",
    ]
    assert finish(stack, body["task_id"])["warnings"] == body["warnings"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"audio_path": "a.mp3"}, "audio_path"),
        ({"last_frame_path": "a.png"}, "last_frame_path"),
        ({"talk_objects": [{"audio": "a"}]}, "talk_objects"),
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
    ],
)
def test_refusals_name_the_clients_own_field(stack: Stack, fields: dict[str, Any], named: str) -> None:
    refused = call(stack, "POST", "/v1/tasks/video/", json=fields)
    assert refused.status_code == 422, refused.text
    assert named in {problem["field"] for problem in refused.json()["error"]["fields"]}
    assert isinstance(refused.json()["detail"], str)


def test_bodies_that_are_none(stack: Stack) -> None:
    for data in (b"{", b"[1]", b'"x"'):
        answer = call(stack, "POST", "/v1/tasks/video/", data=data, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_body")


@pytest.mark.parametrize("fields", [{}, {"model": "tiny-video"}, {"image_path": ""}])
def test_every_task_of_the_oldest_route_is_a_video(stack: Stack, fields: dict[str, Any]) -> None:
    body = call(stack, "POST", "/v1/tasks/", json={"prompt": "x", "infer_steps": 1, **fields}).json()
    assert body["task_status"] == "pending"
    assert body["save_result_path"] == f"{body['task_id']}.mp4"
    assert finish(stack, body["task_id"])["request"]["kind"] == "text2video"


def test_a_used_id(stack: Stack) -> None:
    sent = {"task_id": "AB12-CD34", "infer_steps": 1}
    assert call(stack, "POST", "/v1/tasks/video/", json=sent).json()["task_id"] == "AB12-CD34"
    again = call(stack, "POST", "/v1/tasks/video/", json=sent)
    assert (again.status_code, again.json()["detail"]) == (409, "Task ID AB12-CD34 already exists")
    finish(stack, "AB12-CD34")


def test_an_image_in_a_shape(stack: Stack) -> None:
    body = call(stack, "POST", "/v1/tasks/image/", json={"prompt": "x", "infer_steps": 1, "aspect_ratio": "4:1"}).json()
    request = finish(stack, body["task_id"])["request"]
    assert (request["kind"], request["width"], request["height"]) == ("text2img", 64, 16)


def test_an_image_at_once(stack: Stack) -> None:
    answer = call(stack, "POST", "/v1/tasks/image/sync?timeout_seconds=50", json={"prompt": "x", "infer_steps": 1})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    assert answer.headers["Content-Disposition"] == 'inline; filename="result.png"'
    assert answer.content.startswith(b"\x89PNG")
    assert finish(stack, answer.headers["X-Task-Id"])["status"] == "completed"


def test_an_image_that_is_not_done_in_time_is_stopped(stack: Stack) -> None:
    sent = {"infer_steps": ENDLESS_STEPS, "task_id": "too-slow"}
    answer = call(stack, "POST", "/v1/tasks/image/sync?timeout_seconds=0.5", json=sent)
    assert (answer.status_code, "too-slow" in answer.json()["detail"]) == (504, True)
    assert finish(stack, "too-slow")["status"] == "cancelled"
    assert call(stack, "POST", "/v1/tasks/image/sync?timeout_seconds=soon", json=sent).status_code == 422


def test_a_client_that_hangs_up_stops_its_image(stack: Stack) -> None:
    sent = {"infer_steps": ENDLESS_STEPS, "task_id": "hung-up"}
    with pytest.raises(requests.ReadTimeout):
        requests.post(stack.url("/v1/tasks/image/sync"), json=sent, timeout=1)
    assert finish(stack, "hung-up")["status"] == "cancelled"


def test_every_state_has_a_word() -> None:
    from app.protocols.lightx2v.states import QUEUE_WORDS, SINGLE_WORDS

    assert set(QUEUE_WORDS) == set(SINGLE_WORDS) == set(JobState)


def test_stops(stack: Stack) -> None:
    """A running task by id, what runs, everything, and the address that the shipped script still calls."""
    newest = call(stack, "POST", "/v1/tasks/video/", json={"infer_steps": ENDLESS_STEPS}).json()["task_id"]
    stack.wait_until(newest, lambda view: view["progress"]["step"] > 0, "a step")
    status = stack.get("/v1/service/status").json()
    assert (status["service_status"], status["task_id"], status["current_task"]) == ("busy", newest, newest)
    assert status["active_tasks"] == [newest]
    assert status["start_time"]
    queue = stack.get("/v1/tasks/queue/status").json()
    assert (queue["is_processing"], queue["current_task"], queue["pending_count"]) == (True, newest, 0)
    waiting = call(stack, "POST", "/v1/tasks/", json={"infer_steps": ENDLESS_STEPS}).json()["task_id"]
    assert stack.get(f"/v1/tasks/{waiting}/status").json()["status"] == "pending"
    assert stack.get("/v1/tasks/queue/status").json()["pending_count"] == 1
    stopped = stack.delete(f"/v1/tasks/{newest}").json()
    assert (stopped["stop_status"], stopped["reason"]) == ("success", "Task stopped successfully.")
    ended = finish(stack, newest)
    assert (ended["status"], ended["error"], ended["success"]) == ("cancelled", "Task cancelled by user", False)
    assert stack.delete(f"/v1/tasks/{newest}").json()["stop_status"] == "do_nothing"

    stack.wait_until(waiting, lambda view: view["progress"]["step"] > 0, "a step")
    assert stack.delete("/v1/tasks/running").json()["stop_status"] == "success"
    # Created where clients know no "cancelled": they would wait for ever.
    assert finish(stack, waiting)["status"] == "failed"
    assert stack.delete("/v1/tasks/running").json() == {
        "stop_status": "do_nothing", "reason": "No running task found.", "cancelled": [],
    }  # fmt: skip

    ids = [call(stack, "POST", "/v1/tasks/video/", json={"infer_steps": ENDLESS_STEPS}).json()["task_id"] for _ in "ab"]
    assert sorted(stack.delete("/v1/tasks/all/running").json()["cancelled"]) == sorted(ids)
    assert stack.delete("/v1/tasks/all/running").json()["stop_status"] == "success"
    old = call(stack, "POST", "/v1/tasks/", json={"infer_steps": ENDLESS_STEPS}).json()["task_id"]
    stack.wait_until(old, lambda view: view["progress"]["step"] > 0, "a step")
    assert call(stack, "GET", "/v1/local/video/generate/stop_running_task").json()["cancelled"] == [old]
    # It takes new work at once.
    after = call(stack, "POST", "/v1/tasks/video/", json={"infer_steps": 1}).json()["task_id"]
    assert finish(stack, after)["status"] == "completed"


def test_the_list_is_keyed_by_id(stack: Stack) -> None:
    done = call(stack, "POST", "/v1/tasks/video/", json={"infer_steps": 1, "prompt": "listed"}).json()["task_id"]
    finish(stack, done)
    running = call(stack, "POST", "/v1/tasks/", json={"infer_steps": ENDLESS_STEPS}).json()["task_id"]
    listed = stack.get("/v1/tasks/").json()
    stack.delete("/v1/tasks/all/running")
    assert (listed[done]["status"], listed[done]["message"]["prompt"]) == ("completed", "listed")
    assert listed[running]["status"] in ("pending", "processing")
    assert listed[running]["end_time"] is None


def test_unknown_tasks_and_results_that_are_not_there(stack: Stack) -> None:
    for path in ("/v1/tasks/nothing/status", "/v1/tasks/nothing/result"):
        assert stack.get(path).status_code == 404
        assert isinstance(stack.get(path).json()["detail"], str)
    task = call(stack, "POST", "/v1/tasks/video/", json={"infer_steps": ENDLESS_STEPS}).json()
    assert stack.get(f"/v1/tasks/{task['task_id']}/result").status_code == 404
    assert stack.get(f"/v1/files/download/{task['save_result_path']}").status_code == 404
    stack.delete("/v1/tasks/all/running")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("PUT", "/v1/tasks/video/", 405), ("GET", "/v1/tasks/running/nothing", 404),
     ("POST", "/v1/tasks/queue/status", 405)],
)  # fmt: skip
def test_every_error_is_json(stack: Stack, method: str, path: str, status: int) -> None:
    answer = call(stack, method, path)
    assert (answer.status_code, set(answer.json())) == (status, {"detail", "error"})


def test_service_and_metadata(stack: Stack) -> None:
    wait_for(lambda: stack.get("/v1/service/status").json()["service_status"] == "idle", "the service to be idle")
    status = stack.get("/v1/service/status").json()
    assert (status["task_id"], status["start_time"], status["current_task"]) == (None, None, None)
    further = {"active_tasks", "pending_tasks", "queue_size", "total_tasks", "completed_tasks", "failed_tasks"}
    assert further <= set(status)
    metadata = stack.get("/v1/service/metadata").json()
    assert (metadata["model_cls"], metadata["nproc_per_node"]) == ("tiny-video", 1)
    assert stack.get("/health").json() == {"status": "ok"}


def test_a_full_queue_is_503(start) -> None:  # type: ignore[no-untyped-def]
    stack = start(MAX_WAITING=1)
    codes = [call(stack, "POST", "/v1/tasks/", json={"image_path": ""}).status_code for _ in range(2)]
    full = call(stack, "POST", "/v1/tasks/video/", json={})
    assert (codes, full.status_code) == ([200, 503], 503)
    assert full.json()["detail"] == "Task queue is full (max 1 tasks)"
    assert int(full.headers["Retry-After"]) > 0
    big = call(stack, "POST", "/v1/tasks/video/", data=b"x" * (65 << 20))
    assert (big.status_code, big.json()["error"]["code"]) == (413, "too_large")


def test_images_by_path_come_from_one_folder(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "inputs"
    (folder / "assets").mkdir(parents=True)
    (folder / "assets" / "a.png").write_bytes(png())
    (tmp_path / "inputs_evil").mkdir()
    (tmp_path / "inputs_evil" / "a.png").write_bytes(png())
    (folder / "link.png").symlink_to(tmp_path / "inputs_evil" / "a.png")
    stack = start(INPUT_DIR=folder, BARE_PROMPT_KIND="text2video")
    for path in ("assets/a.png", str(folder / "assets" / "a.png"), "./assets/../assets/a.png"):
        body = call(stack, "POST", "/v1/tasks/", json={"image_path": path})
        assert (body.status_code, body.json()["model"]) == (200, "tiny-video"), body.text
    for path in ("../inputs_evil/a.png", str(tmp_path / "inputs_evil" / "a.png"), "link.png", "assets", "none.png"):
        refused = call(stack, "POST", "/v1/tasks/", json={"image_path": path})
        assert (refused.status_code, refused.json()["error"]["fields"][0]["field"]) == (422, "image_path"), path
    bare = call(stack, "POST", "/v1/tasks/", json={"prompt": "x"}).json()
    assert stack.status(bare["task_id"])["request"]["kind"] == "text2video"
