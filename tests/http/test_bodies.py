"""Bodies that are not what their header says, blank fields, and numbers as other languages write them."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from werkzeug.test import TestResponse

from tests.support.aime_endpoint import LOCAL_ENDPOINT
from tests.support.pictures import PNG
from tests.support.service import Service

URLENCODED = "application/x-www-form-urlencoded"
#: Route → its field for the number of steps.
ROUTES = {
    "/v1/jobs": "steps", "/v1/tasks/": "infer_steps",
    "/v1/tasks/video/": "infer_steps", "/v1/tasks/image/": "infer_steps",
    "/sdapi/v1/txt2img": "steps", "/tiny": "num_inference_steps", "/free": "num_inference_steps",
}  # fmt: skip


@pytest.fixture(scope="module")
def app(services: Callable[..., Service], tmp_path_factory: pytest.TempPathFactory) -> Service:
    endpoints: Path = tmp_path_factory.mktemp("endpoints")
    free = LOCAL_ENDPOINT.replace('"tiny"', '"free"').replace("required = true", "required = false")
    for text, name in ((LOCAL_ENDPOINT, "tiny"), (free, "free")):
        (endpoints / name).mkdir()
        (endpoints / name / "aime_api_endpoint.cfg").write_text(text)
    return services(ENDPOINTS_DIR=endpoints)


def named(response: TestResponse) -> set[str]:
    """Return the names of the refused fields, in the shape of any protocol."""
    assert response.status_code in (400, 422), response.text
    body = response.get_json()
    if "success" in body:
        return {text.partition(":")[0] for text in body["error"]}
    if "error" in body:
        return {problem["field"] for problem in body["error"]["fields"]}
    return {problem["loc"][-1] for problem in body["detail"]}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("media_type", [URLENCODED, "multipart/form-data", "text/plain", None])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n "])
def test_json_is_read_whatever_its_header_says(
    app: Service, path: str, media_type: str | None, before: bytes
) -> None:  # fmt: skip
    body = before + json.dumps({"prompt": "a red circle", ROUTES[path]: 0}).encode()
    assert named(app.post(path, data=body, content_type=media_type)) == {ROUTES[path]}


def test_curl_without_a_header_gets_what_it_asked_for(app: Service) -> None:
    body = '{"prompt":"a red circle = a + b & c","steps":7}'
    request = app.post("/v1/jobs", data=body, content_type=URLENCODED).get_json()["request"]
    assert (request["prompt"], request["steps"]) == ("a red circle = a + b & c", 7)
    body = '{"prompt":"a red circle","infer_steps":7,"seed":-1}'
    task_id = app.post("/v1/tasks/", data=body, content_type=URLENCODED).get_json()["task_id"]
    request = app.job(task_id)["request"]
    assert (request["prompt"], request["steps"]) == ("a red circle", 7)
    assert request["seed"] >= 0


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/tasks/", "/sdapi/v1/txt2img", "/tiny"])
@pytest.mark.parametrize("body", ["prompt=a&steps=7", "--cut\r\nContent-Disposition: form-data; name=x\r\n\r\ny\r\n"])
def test_a_form_that_says_it_is_json_is_named(app: Service, path: str, body: str) -> None:
    response = app.post(path, data=body, content_type="application/json")
    assert (response.status_code in (400, 422), "looks like a form" in response.text) == (True, True), response.text


def test_a_compressed_body_is_named(app: Service) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    response = app.post("/v1/jobs", data=gzip.compress(b'{"prompt":"x"}'), headers=headers)
    assert (response.status_code, "Content-Encoding is gzip" in response.text) == (400, True)


# ---- charsets


@pytest.mark.parametrize(
    "charset", ["utf-8", "UTF8", '"iso-8859-1"', "windows-1252", "UTF-16", "utf-16le", "utf-32", "us-ascii"]
)
def test_a_declared_charset_is_honoured(app: Service, charset: str) -> None:
    prompt = "a cafe" if charset == "us-ascii" else "un café"
    body = json.dumps({"prompt": prompt, "model": "tiny-image"}, ensure_ascii=False).encode(charset.strip('"'))
    response = app.post("/v1/jobs", data=body, content_type=f"application/json; charset={charset}")
    assert response.get_json()["request"]["prompt"] == prompt, response.text
    if "16" in charset or "32" in charset:
        return
    form = b"prompt=" + quote(prompt, safe="", encoding=charset.strip('"')).encode()
    response = app.post("/v1/jobs", data=form, content_type=f"{URLENCODED}; charset={charset}")
    assert response.get_json()["request"]["prompt"] == prompt, response.text


@pytest.mark.parametrize("charset", ["nonsense", "utf-7", "unicode_escape", "zip", "base64", "rot13", "idna"])
def test_other_charsets_are_refused(app: Service, charset: str) -> None:
    response = app.post("/v1/jobs", data=b'{"prompt":"x"}', content_type=f"application/json; charset={charset}")
    assert (response.status_code, f"UTF-8 or another known charset, not '{charset}'" in response.text) == (400, True)


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("charset", ["iso-8859-1", "utf-16", "utf-16-le"])
def test_another_charset_without_a_declaration_must_be_utf_8(app: Service, path: str, charset: str) -> None:
    body = json.dumps({"prompt": "un café"}, ensure_ascii=False).encode(charset)
    response = app.post(path, data=body, content_type="application/json")
    assert (response.status_code in (400, 422), "UTF-8" in response.text) == (True, True), response.text


def test_what_is_no_text_in_its_charset_is_refused(app: Service) -> None:
    wrong = app.post("/v1/jobs", data=b'{"prompt":"\xd8\x00"}', content_type="application/json; charset=utf-16-be")
    assert (wrong.status_code, wrong.get_json()["error"]["code"]) == (400, "malformed_body")
    for path in ("/v1/jobs", "/v1/tasks/"):
        assert named(app.post(path, data=b"prompt=caf%E9", content_type=URLENCODED)) == {"prompt"}
    head = b'--cut\r\nContent-Disposition: form-data; name="prompt"\r\n'
    parts = b"\r\ncaf\xe9\r\n--cut--\r\n"
    multipart = "multipart/form-data; boundary=cut"
    assert named(app.post("/v1/jobs", data=head + parts, content_type=multipart)) == {"prompt"}
    declared = head + b"Content-Type: text/plain; charset=iso-8859-1\r\n" + parts
    assert app.post("/v1/jobs", data=declared, content_type=multipart).get_json()["request"]["prompt"] == "café"


# ---- plus signs


@pytest.mark.parametrize("head", ["", "data:image/png;base64,", "data%3Aimage%2Fpng%3Bbase64%2C", "data:;base64,"])
def test_plus_signs_of_a_picture_need_no_escape(app: Service, head: str) -> None:
    picture = base64.b64encode(PNG).decode()
    assert picture.count("+") > 3
    keys = set()
    for text in (picture, picture.replace("+", "%2B"), quote(picture, safe="")):
        body = f"model=tiny-image&kind=img2img&prompt=a+b&strength=1&image={head}{text}"
        response = app.post("/v1/jobs", data=body, content_type=URLENCODED)
        assert response.status_code == 201, response.text
        job = app.store.get(response.get_json()["id"])
        keys.add(job.request.image)
        assert job.request.prompt == "a b"
    assert len({str(key).split(".")[0] for key in keys}) == 1


# ---- blank fields


BLANK = ["seed", "model", "kind", "steps", "guidance_scale", "width", "height", "frames", "fps", "image", "mask",
         "strength", "num_images", "scheduler", "loras", "mix", "output_format", "output_quality", "embed_metadata",
         "id", "slot",
         "class",
         "priority", "not_before", "start_within_s", "preview", "max_run_s", "retention", "webhook_url",
         "webhook_events", "moderate",
         "resize", "inpaint", "variation", "hires", "prior", "clip_skip", "negative_prompt"]  # fmt: skip


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("media_type", [URLENCODED, "multipart/form-data"])
def test_blank_fields_of_a_form_count_as_left_out(app: Service, media_type: str, blank: str) -> None:
    response = app.post("/v1/jobs", data={"prompt": "x", **dict.fromkeys(BLANK, blank)}, content_type=media_type)
    assert response.status_code == 201, response.text
    plain = app.post("/v1/jobs", data={"prompt": "x"}).get_json()
    same = {name: value for name, value in response.get_json()["request"].items() if name != "seed"}
    assert same == {name: value for name, value in plain["request"].items() if name != "seed"}
    assert response.get_json()["warnings"] == []


def test_blank_fields_of_the_other_protocols(app: Service) -> None:
    names = ["task_id", "image_path", "save_result_path", "infer_steps", "target_video_length", "seed", "target_fps",
             "target_shape", "aspect_ratio", "lora_name", "lora_strength", "model", "width", "retention",
             "num_fragments",
             "use_prompt_enhancer", "priority"]  # fmt: skip
    for path in ("/v1/tasks/", "/v1/tasks/image/", "/v1/tasks/image/form"):
        response = app.post(path, data={"prompt": "x", **dict.fromkeys(names, "")})
        assert response.status_code == 200, response.text
        assert app.job(response.get_json()["task_id"])["warnings"] == []
    numbers = {"infer_steps": "", "seed": "", "target_fps": "", "use_prompt_enhancer": ""}  # also in JSON
    assert app.post("/v1/tasks/", json={"prompt": "x", **numbers}).status_code == 200
    wrong = {"prompt": "", "seed": "", "steps": "0", "width": "", "enable_hr": "", "cfg_scale": "", "sampler_name": ""}
    assert named(app.post("/sdapi/v1/txt2img", data=wrong)) == {"prompt", "steps"}
    query = {"prompt": "x", "seed": "", "width": "", "guidance_scale": "", "wait_for_result": "false"}
    assert app.get("/tiny?" + urlencode(query)).get_json()["success"] is True
    assert app.post("/tiny", data=query).get_json()["success"] is True


@pytest.mark.parametrize("path", ["/v1/jobs?state=&limit=&after=", "/sdapi/v1/progress?skip_current_image="])
def test_blank_parameters_of_a_query_count_as_left_out(app: Service, path: str) -> None:
    assert app.get(path).status_code == 200


# ---- numbers


@pytest.mark.parametrize("as_form", [False, True])
def test_whole_numbers_may_have_a_point(app: Service, as_form: bool) -> None:
    def send(path: str, **fields: Any) -> TestResponse:
        return app.post(path, data=fields) if as_form else app.post(path, json=fields)

    native = {"model": "tiny-image", "prompt": "x", "width": 64.0, "steps": 3.0, "seed": 7.0, "priority": 1.0}
    job = send("/v1/jobs", **native).get_json()
    assert [job["request"][name] for name in ("width", "steps", "seed")] == [64, 3, 7]
    assert job["priority"] == 1
    fields = {
        "prompt": "x",
        "infer_steps": 3.0,
        "target_video_length": 17.0,
        "seed": 7.0,
        "width": 64.0,
        "height": 32.0,
    }
    shape = {} if as_form else {"target_shape": [32.0, 64.0]}
    request = app.job(send("/v1/tasks/video/", **fields, **shape).get_json()["task_id"])["request"]
    assert [request[name] for name in ("width", "steps", "seed", "frames")] == [64, 3, 7, 17]
    answer = send("/tiny", prompt="x", num_inference_steps=2.0, seed=7.0, width=64.0, wait_for_result="false")
    assert answer.get_json()["success"], answer.text
    assert named(send("/sdapi/v1/txt2img", prompt="x", steps=0.0, width=64.0, batch_size=1.0, seed=-1.0)) == {"steps"}
    for wrong in (64.5, "64.0.0", "64.5", "6e1", True):
        if not (as_form and wrong is True):
            assert named(send("/v1/jobs", model="tiny-image", prompt="x", width=wrong)) == {"width"}


def test_options_may_have_a_point(app: Service) -> None:
    assert app.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2.0}).status_code == 200
    assert app.json("/sdapi/v1/options")["CLIP_stop_at_last_layers"] == 2
    assert app.post("/sdapi/v1/options", json={"CLIP_stop_at_last_layers": 2.5}).status_code == 422


def test_a_negative_seed_is_random(app: Service) -> None:
    seeds = {app.post("/v1/jobs", json={"prompt": "x", "seed": -1}).get_json()["request"]["seed"] for _ in range(3)}
    for path in ("/v1/tasks/", "/v1/tasks/image/"):
        task_id = app.post(path, json={"prompt": "x", "seed": -1}).get_json()["task_id"]
        seeds.add(app.job(task_id)["request"]["seed"])
    seeds.add(app.store.get(app.post("/tiny", json={"prompt": "x", "seed": -1, "wait_for_result": False})
                            .get_json()["job_id"]).request.seed)  # fmt: skip
    assert len(seeds) == 6
    assert all(0 <= seed < 2**32 for seed in seeds)
    found = app.post("/v1/jobs", json={"prompt": "x", "seed": 2**63}).get_json()["error"]["message"]
    assert "between 0 and 9223372036854775807" in found


# ---- prompts


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", [{"json": {}}, {}, {"data": {"prompt": " "}}, {"json": {"prompt": None}}])
def test_a_submit_without_a_prompt_and_an_input_is_refused(app: Service, path: str, body: dict[str, Any]) -> None:
    assert "prompt" in named(app.post(path, **body))


def test_an_input_or_a_deliberately_empty_prompt_will_do(app: Service) -> None:
    image = base64.b64encode(PNG).decode()
    assert app.post("/v1/jobs", json={"image": image, "strength": 1}).status_code == 201
    assert app.post("/v1/tasks/", json={"image_path": image}).status_code == 200
    for path in ("/v1/jobs", "/v1/tasks/"):
        body = app.post(path, json={"prompt": ""}).get_json()
        assert body["warnings"] == ["prompt is empty: the output shows whatever the model makes of no text"]
