"""Controls over HTTP: fields, forms, the client, the command, and the units of the ControlNet extension."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
import webuiapi
from PIL import Image

from framemill import Client
from framemill.cli.app import main
from tests.support.api import PATIENCE_S
from tests.support.pictures import JPEG, PNG, WEBP, b64, encoded, picture
from tests.support.served_app import ServedApp

MODELS = """
[painter]
executor = "drawing"
kinds = ["text2img", "img2img"]
defaults = { steps = 2, width = 32, height = 32 }
limits = { controls = [1, 2], width = [16, 256], height = [16, 256] }
[painter.controls.canny]
type = "controlnet"
source = "somewhere/canny"
description = "Edges."
defaults = { scale = 0.8 }
[painter.controls.style]
type = "ip-adapter"
source = "somewhere/style"
weight_name = "style.safetensors"

[plain]
executor = "drawing"
kinds = ["text2img"]
defaults = { steps = 2, width = 32, height = 32 }
"""


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve(MODELS)
    app.worker("painter", "plain")
    return app


def submitted(app: ServedApp, **fields: Any) -> dict[str, Any]:
    response = requests.post(app.url("/v1/jobs"), json={"prompt": "x", **fields}, timeout=PATIENCE_S)
    assert response.ok, response.text
    return dict(response.json())


def inputs_of(app: ServedApp, job_id: str, *names: str) -> list[bytes]:
    return [app.get(f"/v1/jobs/{job_id}/inputs/{name}").content for name in names]


def newest(app: ServedApp) -> dict[str, Any]:
    return dict(app.get("/v1/jobs?limit=1").json()["jobs"][0])


BOTH = [{"name": "canny", "image": b64(PNG), "end": 0.5}, {"name": "style", "image": b64(JPEG), "scale": 0.3}]


def test_a_job_with_controls_is_computed_and_keeps_their_images(app: ServedApp) -> None:
    job = submitted(app, controls=BOTH)
    done = app.wait(job["id"])
    assert done["state"] == "succeeded"
    assert done["request"]["controls"] == [
        {"name": "canny", "scale": 0.8, "start": 0.0, "end": 0.5},
        {"name": "style", "scale": 0.3, "start": 0.0, "end": 1.0},
    ]
    assert inputs_of(app, job["id"], "controls-0", "controls-1") == [PNG, JPEG]
    own = submitted(app, controls=[{"name": "canny", "image": f"job:{job['id']}"}])
    assert own["request"]["controls"][0]["name"] == "canny"


def test_a_form_names_the_uploaded_files(app: ServedApp) -> None:
    controls = [{"name": "style", "image": "second"}, {"name": "canny", "image": "first"}]
    response = requests.post(
        app.url("/v1/jobs"), data={"prompt": "x", "controls": json.dumps(controls)},
        files={"first": ("a.png", PNG), "second": ("b.jpg", JPEG)}, timeout=PATIENCE_S,
    )  # fmt: skip
    assert response.ok, response.text
    assert inputs_of(app, response.json()["id"], "controls-0", "controls-1") == [JPEG, PNG]


REFUSED = [
    ([{"name": "cany", "image": b64(PNG)}], "controls[0].name is not a control of model painter; did you mean canny?"),
    ([{"image": b64(PNG)}], "controls[0].name is needed"),
    ([{"name": "canny"}], "controls[0].image is required: a control needs an image"),
    ([{"name": "canny", "image": "@"}], "controls[0].image must be"),
    ([{"name": "canny", "image": b64(PNG), "scale": 3}], "controls[0].scale must be between 0 and 2 for canny"),
    ([{"name": "canny", "image": b64(PNG), "weight": 3}], "controls[0].weight is unknown"),
    ([{"name": "canny", "image": b64(PNG), "preprocess": "depth"}], "must be one of none, canny, invert"),
    ([{"name": "style", "image": b64(PNG), "preprocess": "canny"}], "controls[0].preprocess does not apply"),
    ([{"name": "canny", "image": b64(PNG), "low_threshold": 9}], "low_threshold applies to preprocess canny only"),
    ([BOTH[0]] * 3, "controls must have at most 2 entries for model painter"),
    ("canny", "controls must be a list"),
]


@pytest.mark.parametrize(("controls", "rule"), REFUSED, ids=lambda value: str(value)[:30])
def test_wrong_controls_are_refused_before_anything_is_queued(app: ServedApp, controls: Any, rule: str) -> None:
    jobs = [job["id"] for job in app.get("/v1/jobs").json()["jobs"]]
    body = {"prompt": "x", "model": "painter", "controls": controls}
    response = requests.post(app.url("/v1/jobs"), json=body, timeout=PATIENCE_S)
    assert response.status_code == 422, response.text
    said = [f"{one['field']} {one['rule']}" for one in response.json()["error"]["fields"]]
    assert any(rule in text for text in said), said
    assert [job["id"] for job in app.get("/v1/jobs").json()["jobs"]] == jobs


def test_models_without_controls_refuse_them_and_others_list_them(app: ServedApp) -> None:
    body = {"prompt": "x", "model": "plain", "controls": BOTH}
    response = requests.post(app.url("/v1/jobs"), json=body, timeout=PATIENCE_S)
    assert "model plain has no controls" in response.text
    models = {model["name"]: model for model in app.get("/v1/models").json()["models"]}
    assert models["plain"]["controls"] == []
    assert [control["name"] for control in models["painter"]["controls"]] == ["canny", "style"]
    assert models["painter"]["controls"][0]["defaults"]["scale"] == 0.8


def test_the_output_has_the_shape_of_the_image_that_is_laid_over_it(app: ServedApp) -> None:
    wide = encoded(picture(size=(90, 30)), "PNG")
    job = submitted(app, controls=[BOTH[1], {"name": "canny", "image": b64(wide)}])
    assert (job["request"]["width"], job["request"]["height"]) == (48, 16)
    assert submitted(app, controls=[{"name": "style", "image": b64(wide)}])["request"]["width"] == 32


def test_equal_requests_with_controls_are_answered_with_the_earlier_job(app: ServedApp) -> None:
    fields = {"seed": 5, "reuse": True, "model": "painter"}
    first = submitted(app, controls=BOTH, **fields)
    assert app.wait(first["id"])["state"] == "succeeded"
    assert submitted(app, controls=BOTH, **fields)["id"] == first["id"]
    for other in ([{**BOTH[0], "scale": 0.7}, BOTH[1]], [BOTH[1], BOTH[0]], [{**BOTH[0], "image": b64(WEBP)}, BOTH[1]]):
        assert submitted(app, controls=other, **fields)["id"] != first["id"]


def test_the_client_and_the_command_send_files(app: ServedApp, tmp_path: Path) -> None:
    edges, photo = tmp_path / "edges=1.png", tmp_path / "photo.jpg"
    edges.write_bytes(PNG)
    photo.write_bytes(JPEG)
    with Client(app.url("")) as client:
        controls = [{"name": "canny", "image": edges, "scale": 0.5}, {"name": "style", "image": JPEG}]
        job = client.submit(prompt="x", controls=controls)
        assert inputs_of(app, job.id, "controls-0", "controls-1") == [PNG, JPEG]
        assert [model["controls"][0]["name"] for model in client.models() if model["name"] == "painter"] == ["canny"]
    words = ["--control", f"canny={edges}=0.4@0.1-0.6", "--control", f"style={photo}"]
    assert main(["--url", app.url(""), "submit", "x", *words]) == 0
    job = newest(app)
    assert job["request"]["controls"] == [
        {"name": "canny", "scale": 0.4, "start": 0.1, "end": 0.6},
        {"name": "style", "scale": 1.0, "start": 0.0, "end": 1.0},
    ]
    assert inputs_of(app, job["id"], "controls-0", "controls-1") == [PNG, JPEG]


# ---- AUTOMATIC1111


@pytest.fixture(scope="module")
def webui(app: ServedApp) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(host="127.0.0.1", port=app.port, steps=2)


def image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_webuiapi_finds_controls_and_sends_units(app: ServedApp, webui: webuiapi.WebUIApi) -> None:
    assert webui.controlnet_version() == 3
    assert webui.controlnet_model_list() == ["canny", "style"]
    assert webui.controlnet_module_list() == ["none", "canny", "invert"]
    assert webui.get_scripts() == {"txt2img": ["controlnet"], "img2img": ["controlnet"]}
    units = [
        webuiapi.ControlNetUnit(image=image(PNG), module="canny", model="canny", weight=0.6, guidance_end=0.7),
        webuiapi.ControlNetUnit(image=image(JPEG), module="ip-adapter_clip_sd15", model="Style [abcd1234]"),
        webuiapi.ControlNetUnit(image=image(JPEG), model="canny", enabled=False),
    ]
    made = webui.txt2img(prompt="x", controlnet_units=units, width=32, height=32)
    assert made.image.size == (32, 32)
    assert newest(app)["request"]["controls"] == [
        {
            "name": "canny", "scale": 0.6, "start": 0.0, "end": 0.7, "preprocess": "canny", "low_threshold": 64.0,
            "high_threshold": 64.0, "resize": "pad",
        },
        {"name": "style", "scale": 1.0, "start": 0.0, "end": 1.0},
    ]  # fmt: skip
    webui.img2img(images=[image(WEBP)], prompt="x", width=32, height=32,
                  controlnet_units=[webuiapi.ControlNetUnit(model="canny", resize_mode="Just Resize")])  # fmt: skip
    [control] = newest(app)["request"]["controls"]
    assert control["resize"] == "stretch"
    first, second = inputs_of(app, newest(app)["id"], "image", "controls-0")
    assert first == second  # a unit without an image has the first input image


UNITS: list[tuple[Any, str, str]] = [
    ({"model": "cany"}, "model", "is not a control of model painter; did you mean canny?"),
    ({}, "model", "is required: model painter has canny, style"),
    ({"model": "canny", "module": "depth_midas"}, "module", "send the processed image with module none"),
    ({"model": "canny", "image": ""}, "image", "is required"),
    ({"model": "canny", "image": 7}, "image", "must be base64 or a link"),
    ({"model": "canny", "resize_mode": "Zoom"}, "resize_mode", "must be one of Just Resize"),
    ({"model": "canny", "weight": "much"}, "weight", "must be a number"),
    ({"model": "canny", "weight": 9}, "weight", "must be between 0 and 2"),
    ("canny", "", "must be an object"),
]


@pytest.mark.parametrize(("unit", "field", "rule"), UNITS, ids=lambda value: str(value)[:30])
def test_units_that_cannot_be_used_are_named(app: ServedApp, unit: Any, field: str, rule: str) -> None:
    sent = {"image": b64(PNG), **unit} if isinstance(unit, dict) else unit
    body = {"prompt": "x", "alwayson_scripts": {"controlnet": {"args": [sent]}}}
    response = requests.post(app.url("/sdapi/v1/txt2img"), json=body, timeout=PATIENCE_S)
    assert response.status_code == 422, response.text
    [detail] = response.json()["detail"]
    name = "alwayson_scripts.controlnet.args[0]" + (f".{field}" if field else "")
    assert (detail["loc"][1], rule in detail["msg"]) == (name, True), detail


FORMS: list[dict[str, Any]] = [
    {"image": b64(PNG)}, {"input_image": b64(PNG)}, {"image": {"image": b64(PNG), "mask": None}},
    {"image": [{"image": b64(PNG)}]}, {"image": [b64(PNG), b64(JPEG)]}, {"image": f"data:image/png;base64,{b64(PNG)}"},
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: str(form)[:30])
def test_images_of_units_have_many_forms(app: ServedApp, form: dict[str, Any]) -> None:
    unit = {"model": "canny.safetensors [0123abcd]", "guidance": 0.5, "control_mode": 2, **form}
    body = {"prompt": "x", "alwayson_scripts": {"ControlNet": {"args": [unit]}}}
    response = requests.post(app.url("/a1111/sdapi/v1/txt2img"), json=body, timeout=PATIENCE_S)
    assert response.ok, response.text
    job = newest(app)
    assert inputs_of(app, job["id"], "controls-0") == [PNG]
    assert job["request"]["controls"][0]["end"] == 0.5
    assert any("control_mode was ignored" in warning for warning in job["warnings"])
    assert base64.b64decode(response.json()["images"][0])[:4] == b"\x89PNG"


def test_the_other_lists_of_the_extension(app: ServedApp) -> None:
    def get(path: str) -> Any:
        return requests.get(app.url(f"/a1111/controlnet/{path}"), timeout=PATIENCE_S).json()

    assert get("settings") == {"control_net_unit_count": 2}
    types = get("control_types")["control_types"]
    assert types["IP-Adapter"]["model_list"] == ["None", "style"]
    assert types["Canny"] == {
        "module_list": ["none", "canny", "invert"], "model_list": ["None", "canny"], "default_option": "canny",
        "default_model": "canny",
    }  # fmt: skip
    detect = {"controlnet_module": "canny", "controlnet_input_images": [b64(PNG)]}
    response = requests.post(app.url("/controlnet/detect"), json=detect, timeout=PATIENCE_S)
    assert (response.status_code, response.json()["detail"]) == (422, "Module not available")


# ---- other protocols


def test_replicate_sends_a_control(app: ServedApp) -> None:
    uri = f"data:image/png;base64,{b64(PNG)}"
    url = app.url("/v1/models/me/painter/predictions")

    def send(**sent: Any) -> requests.Response:
        return requests.post(url, json={"input": {"prompt": "x", "control_image": uri, **sent}}, timeout=PATIENCE_S)

    assert send().ok
    assert newest(app)["request"]["controls"] == [{"name": "canny", "scale": 0.8, "start": 0.0, "end": 1.0}]
    assert send(control_type="style", control_strength=0.4).ok
    job = newest(app)
    assert (job["request"]["controls"][0]["name"], job["request"]["controls"][0]["scale"]) == ("style", 0.4)
    assert inputs_of(app, job["id"], "controls-0") == [PNG]
    refused = send(control_type="depth")
    assert refused.status_code == 422, refused.text
    assert "control_type" in refused.text
    schema = app.get("/v1/models/me/painter").json()["latest_version"]["openapi_schema"]
    inputs = schema["components"]["schemas"]["Input"]["properties"]
    assert inputs["control_type"]["enum"] == ["canny", "style"]
    plain = app.get("/v1/models/me/plain").json()["latest_version"]["openapi_schema"]
    assert "control_image" not in plain["components"]["schemas"]["Input"]["properties"]


def test_mcp_sends_controls(app: ServedApp) -> None:
    def call(tool: str, arguments: dict[str, Any]) -> Any:
        params = {"name": tool, "arguments": arguments}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
        return requests.post(app.url("/mcp"), json=body, headers=headers, timeout=PATIENCE_S)

    job = submitted(app, model="painter")
    assert app.wait(job["id"])["state"] == "succeeded"
    controls = [{"name": "style", "image": job["id"], "scale": 0.5}]
    assert call("generate_image", {"prompt": "x", "model": "painter", "controls": controls, "wait_s": 0}).ok
    [control] = newest(app)["request"]["controls"]
    assert (control["name"], control["scale"]) == ("style", 0.5)
    assert inputs_of(app, newest(app)["id"], "controls-0")[0][:4] == b"\x89PNG"
    assert '"canny"' in call("list_models", {}).text.replace("\\", "")
