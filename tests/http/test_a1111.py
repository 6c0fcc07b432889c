"""AUTOMATIC1111's API: responses, errors, lists and options as its clients know them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.a1111_client import BODY, ENDLESS, Waiting, get, jobs, opened, picture, pixels, post
from tests.support.api import wait_for
from tests.support.served_app import ServedApp


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve()
    app.worker("tiny-image", "broken")
    return app


def test_txt2img_answers_with_images_parameters_and_info(app: ServedApp) -> None:
    response = post(app, "txt2img", {**BODY, "n_iter": 2, "batch_size": 2})
    assert response.status_code == 200, response.text
    assert float(response.headers["X-Process-Time"]) >= 0
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert set(body) == {"images", "parameters", "info"}
    assert len(set(body["images"])) == 4
    sent = body["parameters"]
    assert (sent["prompt"], sent["enable_hr"], sent["hr_scale"], sent["s_noise"]) == ("a red circle", False, 2.0, None)
    info = json.loads(body["info"])
    assert (info["seed"], info["all_seeds"], info["batch_size"]) == (7, [7, 8, 9, 10], 2)
    assert (info["width"], info["height"], info["steps"], info["cfg_scale"]) == (32, 32, 3, 7.0)
    assert len(info["all_prompts"]) == len(info["infotexts"]) == len(info["all_subseeds"]) == 4
    for text, image in zip(info["infotexts"], map(opened, body["images"]), strict=True):
        assert image.info["parameters"] == text
        assert image.size == (32, 32)
    assert "Negative prompt: blur" in info["infotexts"][0]
    assert ", Seed: 9, " in info["infotexts"][2]
    alone = post(app, "txt2img", {**BODY, "seed": 9, "batch_size": 2})
    assert pixels(alone) == [opened(text).tobytes() for text in body["images"][2:]]


def test_what_is_not_sent_is_the_models_or_the_originals(app: ServedApp) -> None:
    body = post(app, "txt2img", {"prompt": "x", "seed": -1}).json()
    assert (body["parameters"]["steps"], body["parameters"]["width"]) == (4, 32)  # the models file
    assert body["parameters"]["cfg_scale"] == 7.0  # the models file does not state it
    assert 0 <= body["parameters"]["seed"] < 2**32
    assert json.loads(body["info"])["all_seeds"] == [body["parameters"]["seed"]]
    text = f"a blue square\nSteps: 2, Sampler: Euler a, CFG scale: 3, Seed: 11, Size: 64x32, Model: {'x'}"
    filled = post(app, "txt2img", {"infotext": text, "steps": 3}).json()["parameters"]
    assert [filled[name] for name in ("prompt", "steps", "cfg_scale", "seed", "width", "height")] == [
        "a blue square", 3, 3.0, 11, 64, 32]  # fmt: skip


def test_an_unknown_sampler_is_replaced_and_said_so(app: ServedApp) -> None:
    body = post(app, "txt2img", {**BODY, "sampler_name": "Restart", "scheduler": "Karras"}).json()
    assert "Restart" in json.loads(body["info"])["extra_generation_params"]["Warnings"]
    assert body["parameters"]["sampler_name"] is None


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_img2img_takes_an_image(app: ServedApp, prefix: str) -> None:
    sent = {**BODY, "init_images": [prefix + picture()], "denoising_strength": 0.5}
    body = post(app, "img2img", sent).json()
    assert len(body["images"]) == 1
    assert body["parameters"]["init_images"] is None
    assert body["parameters"]["mask"] is None
    assert json.loads(body["info"])["denoising_strength"] == 0.5
    shown = post(app, "img2img", {**sent, "include_init_images": True}).json()["parameters"]
    assert shown["init_images"] == sent["init_images"]


def test_images_may_be_left_out_or_of_another_format(app: ServedApp) -> None:
    without = post(app, "txt2img", {**BODY, "send_images": False, "save_images": True}).json()
    assert without["images"] == []
    assert len(json.loads(without["info"])["infotexts"]) == 1
    for name, kind in (("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")):
        body = post(app, "txt2img", {**BODY, "override_settings": {"samples_format": name}}).json()
        assert opened(body["images"][0]).format == kind


def test_everything_is_found_below_a1111_too(app: ServedApp) -> None:
    root = requests.get(app.url("/a1111/"), timeout=90)
    assert (root.status_code, root.content) == (404, b'{"detail":"Not Found"}')
    below = requests.post(app.url("/a1111/sdapi/v1/txt2img"), json=BODY, timeout=60)
    assert pixels(below) == pixels(post(app, "txt2img", BODY))
    assert requests.get(app.url("/a1111/internal/pending-tasks"), timeout=90).json() == {"size": 0, "tasks": []}


#: Body → status, and a part of the response.
REFUSED: list[tuple[str, Any, int, str]] = [
    ("txt2img", {"steps": "many"}, 422, '"steps"'),
    ("txt2img", {"prompt": 5}, 422, '"prompt"'),
    ("txt2img", {"n_iter": 0}, 422, '"n_iter"'),
    ("txt2img", {"n_iter": 10**30}, 422, '"n_iter"'),
    ("txt2img", {"batch_size": 10**400}, 422, '"batch_size"'),
    ("txt2img", {"width": 10**12}, 422, '"width"'),
    ("txt2img", {"width": -8}, 422, '"width"'),
    ("txt2img", {"cfg_scale": 1e300}, 422, '"cfg_scale"'),
    ("txt2img", {"seed": 2**64}, 422, '"seed"'),
    ("txt2img", {"prompt": "\ud800"}, 422, '"prompt"'),
    ("txt2img", {"prompt": "x" * 100_001}, 422, '"prompt"'),
    ("txt2img", {"styles": "x"}, 422, '"styles"'),
    ("txt2img", {"override_settings": []}, 422, '"override_settings"'),
    ("txt2img", {"override_settings": {"sd_model_checkpoint": "nothing"}}, 422, '"override_settings"'),
    ("txt2img", {"override_settings": {"samples_format": "bmp"}}, 422, '"samples_format"'),
    ("txt2img", {"alwayson_scripts": {"ADetailer": {"args": []}}}, 422, "ADetailer"),
    ("txt2img", {"alwayson_scripts": {"ControlNet": {"args": [{"model": "canny"}]}}}, 422, "has no controls"),
    ("txt2img", {"script_name": "x/y plot"}, 422, "x/y plot"),
    ("txt2img", {"force_task_id": "x" * 129}, 422, '"force_task_id"'),
    ("txt2img", [], 422, '"body"'),
    ("img2img", {}, 404, "Init image not found"),
    ("img2img", {"init_images": []}, 404, "Init image not found"),
    ("img2img", {"init_images": ["x"]}, 500, "Invalid encoded image"),
    ("img2img", {"init_images": [7]}, 422, '"init_images'),
    ("img2img", {"init_images": [picture()[:80]]}, 500, "Invalid encoded image"),
    ("img2img", {"init_images": ["http://127.0.0.1/x.png"]}, 500, "Invalid encoded image"),
    ("img2img", {"init_images": [picture()], "mask": picture()}, 422, '"override_settings"'),
    ("options", {"sd_model_checkpoint": "nothing"}, 500, "not found"),
    ("options", {"sd_model_checkpoint": 7}, 422, '"sd_model_checkpoint"'),
    ("options", {"samples_format": "bmp"}, 422, '"samples_format"'),
    ("interrogate", {"image": picture(), "model": "clip"}, 404, "Model not found"),
    ("interrogate", {}, 404, "Image not found"),
    ("png-info", {"image": "x"}, 500, "Invalid encoded image"),
    ("png-info", {}, 422, '"image"'),
    ("extra-single-image", {"image": "x"}, 500, "Invalid encoded image"),
    ("extra-single-image", {"image": picture(), "upscaler_1": "ESRGAN_4x"}, 422, '"upscaler_1"'),
    ("extra-single-image", {"image": picture(), "upscaler_1": "Lanczos", "upscaling_resize": 1e9}, 422, "resize"),
    ("extra-single-image", {"image": picture("red", 9000), "upscaler_1": "Lanczos"}, 500, "Invalid encoded"),
    ("extra-single-image",
     {"image": picture("red", 4000), "upscaler_1": "Nearest", "upscaling_resize": 8}, 422, "resize"),
    ("extra-batch-images", {"imageList": []}, 422, '"imageList"'),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "status", "part"), REFUSED)
def test_what_is_wrong_is_refused_and_nothing_is_queued(
    app: ServedApp, path: str, body: Any, status: int, part: str
) -> None:
    before = jobs(app)
    response = post(app, path, {**BODY, **body} if path.endswith("2img") and isinstance(body, dict) else body)
    assert response.status_code == status, response.text
    assert part in json.dumps(response.json())
    if status == 422 and isinstance(response.json()["detail"], list):
        assert all(set(one) == {"loc", "msg", "type"} for one in response.json()["detail"])
    else:
        assert set(response.json()) == {"error", "detail", "body", "errors"}
    assert jobs(app) == before


@pytest.mark.parametrize("data", [b"{", b"\xff\xfe", b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(app: ServedApp, data: bytes) -> None:
    for path in ("txt2img", "img2img", "options", "png-info", "extra-single-image"):
        response = requests.post(app.url(f"/sdapi/v1/{path}"), data=data, timeout=90)
        assert response.status_code == 422, (path, response.text)


def test_a_failed_job_is_an_error_with_its_text(app: ServedApp) -> None:
    response = post(app, "txt2img", {**BODY, "override_settings": {"sd_model_checkpoint": "broken"}})
    assert response.status_code == 500
    assert "model_load_failed" in response.json()["errors"]


def test_a_full_queue_is_refused_whole(serve: Callable[..., ServedApp]) -> None:
    app = serve(MAX_WAITING=2)
    response = post(app, "txt2img", {**BODY, "n_iter": 3})
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) > 0
    assert set(response.json()) == {"error", "detail", "body", "errors"}
    assert jobs(app) == []


def test_each_key_has_its_own_options_and_requests(serve: Callable[..., ServedApp]) -> None:
    keys = "ops:opsopsopsopsopsops:admin,one:oneoneoneoneoneone,two:twotwotwotwotwotwo"
    app = serve(API_KEYS=keys, SERVICES="bot:botkey")
    app.worker("tiny-image", step_s=0.01)
    one, two = ("any", "oneoneoneoneoneone"), ("any", "twotwotwotwotwotwo")
    whole = get(app, "options", auth=one)
    assert whole["sd_model_checkpoint"] == "tiny-image"
    assert post(app, "options", {**whole, "sd_model_checkpoint": "broken [0123456789]"}, auth=one).json() is None
    assert get(app, "options", auth=one)["sd_model_checkpoint"] == "broken"
    assert get(app, "options", auth=two)["sd_model_checkpoint"] == "tiny-image"
    for headers, status in (
        ({"Authorization": "Bearer twotwotwotwotwotwo"}, 200), ({"Authorization": "twotwotwotwotwotwo"}, 200),
        ({"Authorization": ""}, 401), ({}, 401), ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Basic %%%"}, 401), ({"Authorization": "Basic Ym90OmJvdGtleQ=="}, 200),
    ):  # fmt: skip
        answer = requests.get(app.url("/sdapi/v1/options"), headers=headers, timeout=90)
        assert answer.status_code == status, headers
        if status == 401:
            assert answer.headers["WWW-Authenticate"] == "Basic"
            assert set(answer.json()) == {"error", "detail", "body", "errors"}
    assert requests.get(app.url("/a1111/"), timeout=90).status_code == 404
    assert post(app, "options", {"sd_model_checkpoint": "tiny-image"}, auth=one).json() is None
    call = Waiting(app, ENDLESS, auth=one)
    wait_for(lambda: get(app, "progress", auth=one)["current_image"], "a preview")
    assert get(app, "progress", auth=two)["state"]["job_count"] == 0
    post(app, "skip", auth=two)
    post(app, "interrupt", auth=two)
    assert get(app, "progress", auth=one)["state"]["job_count"] == 1
    assert call.answer is None
    assert post(app, "interrupt", auth=one).json() == {}
    assert len(pixels(call.end())) == 1


MODELS = """
[draw]
source = "none"
executor = "drawing"
kinds = ["text2img", "img2img", "inpaint"]
schedulers = "diffusion"

[clip]
source = "none"
executor = "drawing"
kinds = ["text2img"]
fields = { clip_skip = "clip_skip" }

[turbo]
source = "none"
executor = "drawing"
kinds = ["text2img"]
scheduler = "LCM"
limits = { steps = [1, 8], width = [256, 1024], height = [256, 1024] }
defaults = { guidance_scale = 1.5 }
"""


def test_models_with_samplers_and_a_mask(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS)
    app.worker("draw", "turbo")
    names = {one["name"] for one in get(app, "samplers")}
    assert {"Euler", "Euler a", "DPM++ 2M", "UniPC", "LCM"} <= names
    labels = {one["label"]: one["name"] for one in get(app, "schedulers")}
    assert labels["Karras"] == "karras"
    assert labels["SGM Uniform"] == "sgm_uniform"
    assert (labels["Automatic"], labels["Uniform"]) == ("automatic", "uniform")
    for sent, used in (
        ({"sampler_name": "DPM++ 2M", "scheduler": "karras"}, ("DPM++ 2M", "Karras")),
        ({"sampler_name": "DPM++ 2M Karras", "scheduler": "Karras"}, ("DPM++ 2M", "Karras")),
        ({"sampler_name": "DPM++ 2M"}, ("DPM++ 2M", "Karras")),
        ({"sampler_name": "DPM++ 2M", "scheduler": "Uniform"}, ("DPM++ 2M", "Uniform")),
        ({"sampler_index": "Euler a", "scheduler": "Automatic"}, ("Euler a", "Automatic")),
        ({}, (None, None)),
    ):
        body = post(app, "txt2img", {**BODY, **sent}).json()
        assert (body["parameters"]["sampler_name"], body["parameters"]["scheduler"]) == used
        assert json.loads(body["info"])["extra_generation_params"] == {}
    bare = post(app, "txt2img", {"prompt": "x"}).json()["parameters"]
    assert [bare[name] for name in ("steps", "width", "height", "cfg_scale")] == [50, 512, 512, 7.0]
    turbo = {"prompt": "x", "override_settings": {"sd_model_checkpoint": "turbo.safetensors [0123456789]"}}
    bare = post(app, "txt2img", turbo).json()["parameters"]
    assert [bare[name] for name in ("steps", "width", "cfg_scale", "sampler_name")] == [8, 512, 1.5, "LCM"]
    pictures = {"init_images": [picture()], "mask": picture("white")}
    far = post(app, "img2img", {**BODY, **pictures, "inpaint_full_res_padding": 600})
    assert (far.status_code, "inpaint_full_res_padding" in far.text) == (422, True)
    how = {"mask_blur": 2, "inpainting_fill": 2, "inpaint_full_res_padding": 8}
    masked = post(app, "img2img", {**BODY, **pictures, **how})
    assert {job["request"]["kind"] for job in jobs(app)[:1]} == {"inpaint"}
    [text] = json.loads(masked.json()["info"])["infotexts"]
    again = post(app, "img2img", {**pictures, "infotext": text})
    assert pixels(again) == pixels(masked)
    assert {name: again.json()["parameters"][name] for name in how} == how


def test_clip_skip_as_an_option_an_override_and_in_an_infotext(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS)
    app.worker("draw", "clip")
    clip = {**BODY, "override_settings": {"sd_model_checkpoint": "clip"}}
    layers = {"CLIP_stop_at_last_layers": 2}
    assert post(app, "options", layers).status_code == 200
    assert post(app, "options", {"CLIP_stop_at_last_layers": 99}).status_code == 422
    by_option = json.loads(post(app, "txt2img", clip).json()["info"])
    assert (by_option["clip_skip"], by_option["extra_generation_params"]) == (2, {})
    [text] = by_option["infotexts"]
    plain = json.loads(post(app, "txt2img", BODY).json()["info"])
    assert plain["clip_skip"] == 1
    assert "CLIP_stop_at_last_layers was ignored" in plain["extra_generation_params"]["Warnings"]
    assert post(app, "options", {"CLIP_stop_at_last_layers": 1}).status_code == 200
    by_text = {"infotext": text, "override_settings": {"sd_model_checkpoint": "clip"}}
    assert json.loads(post(app, "txt2img", by_text).json()["info"])["clip_skip"] == 2
