"""ControlNet units for models of back ends: their images are stored as inputs, and put back into the body."""

from __future__ import annotations

import base64
import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import requests
from PIL import Image

from jobs.models.spec import Kind, ModelSpec
from jobs.requests import reuse
from jobs.requests.generation import GenerationRequest
from tests.support.api import PATIENCE_S
from tests.support.devoid_client import Client
from tests.support.pictures import JPEG, PNG, WEBP, animated, b64, encoded, picture
from tests.support.served_app import ServedApp
from workers.remote.a1111_body import body_of

MODELS = """
[far]
executor = "remote"
kinds = ["text2img", "img2img"]
defaults = { steps = 2, width = 32, height = 32 }

[far.controls.edges]
type = "controlnet"
source = "control_edges [0123abcd]"

[away]
executor = "remote"
kinds = ["text2img"]
"""
KEY = {"Authorization": "Bearer telegram:service_key"}
#: Of 140 KB: more than the fields that are passed on may have together.
LARGE = encoded(picture(size=(240, 200)), "PNG")
SIXTEEN_BITS = encoded(Image.frombytes("I;16", (9, 7), bytes(range(126))), "PNG")


@pytest.fixture(scope="module")
def app(serve: Callable[..., ServedApp]) -> ServedApp:
    app = serve(MODELS, SERVICES="telegram:service_key", AUTOMATIC1111_MODEL="far", MAX_INPUT_BYTES=1_000_000)
    app.worker("far")
    return app


def post(app: ServedApp, units: Any, kind: str = "txt2img", **fields: Any) -> requests.Response:
    body = {"prompt": "x", "alwayson_scripts": {"controlnet": {"args": units}}, **fields}
    return requests.post(app.url(f"/sdapi/v1/{kind}"), json=body, headers=KEY, timeout=PATIENCE_S)


def newest(app: ServedApp) -> dict[str, Any]:
    return dict(app.get("/v1/jobs?limit=1", headers=KEY).json()["jobs"][0])


def passed_on(app: ServedApp, job_id: str) -> tuple[GenerationRequest, dict[str, Any]]:
    """Return the request of a job and the body that a back end gets."""
    request = app.store.get(job_id).request
    inputs = {key: b"".join(app.objects.read(key)) for key in request.inputs}
    return request, body_of(request, inputs, "", "task")


FORMS: list[dict[str, Any]] = [
    {"image": b64(PNG), "mask": b64(JPEG)},
    {"input_image": b64(WEBP)},
    {"image": {"image": b64(PNG), "mask": b64(JPEG)}},
    {"image": {"image": b64(PNG), "mask": None, "more": 1}},
    {"image": [b64(PNG), b64(JPEG)]},
    {"image": [{"image": b64(PNG), "mask": b64(WEBP)}, {"image": b64(PNG)}]},
    {"image": b64(PNG), "mask_image": b64(JPEG), "effective_region_mask": b64(WEBP)},
    {"image": b64(LARGE)},
    {"image": b64(encoded(picture("RGBA"), "PNG")), "mask": b64(SIXTEEN_BITS)},
    {"image": None, "mask": ""},
    {"enabled": False},
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: str(form)[:30])
def test_a_back_end_gets_units_as_they_were_sent(app: ServedApp, form: dict[str, Any]) -> None:
    unit = {"enabled": True, "module": "depth_leres++", "model": "own [0123abcd]", "weight": 0.3, "resize_mode": 2,
            "pixel_perfect": True, "advanced_weighting": [0.5, 1], "ipadapter_input": ["QQ=="], **form}  # fmt: skip
    scripts = {"ControlNet": {"args": [{"model": "other"}, unit, True], "more": [1]}, "ADetailer": {"args": [b64(PNG)]}}
    response = post(app, None, alwayson_scripts=scripts, seed=7)
    assert response.ok, response.text
    job = newest(app)
    request, body = passed_on(app, job["id"])
    assert body["alwayson_scripts"] == scripts
    assert job["warnings"] == []
    assert "iVBOR" not in app.get(f"/v1/jobs/{job['id']}", headers=KEY).text
    assert len(request.inputs) == len({text for text in _texts(form) if text})
    assert request.version == (2 if request.inputs else 1)


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]


def test_links_data_urls_outputs_and_animations_become_base64(app: ServedApp) -> None:
    assert post(app, [], seed=1).ok
    own = newest(app)["id"]
    result = app.get(f"/v1/jobs/{own}/result", headers=KEY).content
    units = [{"image": f"data:image/png;base64,{b64(PNG)}"}, {"image": f"job:{own}"}, {"image": b64(animated("GIF"))}]
    response = post(app, units, kind="img2img", init_images=[b64(JPEG)])
    assert response.ok, response.text
    _, body = passed_on(app, newest(app)["id"])
    first, second, third = (unit["image"] for unit in body["alwayson_scripts"]["controlnet"]["args"])
    assert (first, second) == (b64(PNG), b64(result))
    assert Image.open(io.BytesIO(base64.b64decode(third))).size == (40, 30)
    assert body["init_images"] == [b64(JPEG)]


UNIT = "alwayson_scripts.controlnet.args[1]"
REFUSED = [
    ({"image": b64(b"GIF89a, or so")}, f"{UNIT}.image", "is damaged or incomplete"),
    ({"image": b64(b"no image")}, f"{UNIT}.image", "must be a PNG, JPEG or WebP image"),
    ({"image": "/etc/passwd"}, f"{UNIT}.image", "must be"),
    ({"image": "http://127.0.0.1/x.png"}, f"{UNIT}.image", "public addresses only"),
    ({"image": b64(PNG[:-30])}, f"{UNIT}.image", "is damaged or incomplete"),
    ({"image": b64(PNG), "mask": "@"}, f"{UNIT}.mask", "must be"),
    ({"image": 7}, f"{UNIT}.image", "must be an image, an object with image and mask, or a list of them"),
    ({"image": [[b64(PNG)]]}, f"{UNIT}.image", "must be an image, an object"),
    ({"image": {"image": {"image": b64(PNG)}}}, f"{UNIT}.image.image", "must be an image"),
    ({"image": [{"image": b64(PNG), "mask": "@"}]}, f"{UNIT}.image[0].mask", "must be"),
    ({"image": "job:unknown"}, f"{UNIT}.image", "names no job of yours"),
    ({"image": [b64(PNG)] * 33}, "alwayson_scripts.controlnet.args", "must have at most 32 images"),
    ({"image": b64(PNG), "note": "a" * 70_000}, "alwayson_scripts", "must be shorter"),
]  # fmt: skip


@pytest.mark.parametrize(("unit", "field", "rule"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_is_no_image_is_refused_by_its_path(app: ServedApp, unit: Any, field: str, rule: str) -> None:
    before = app.get("/v1/jobs", headers=KEY).json()["jobs"]
    response = post(app, [{"image": b64(PNG)}, unit])
    assert response.status_code == 422, response.text
    [detail] = response.json()["detail"]
    assert (detail["loc"], rule in detail["msg"]) == (["body", field], True), detail
    assert app.get("/v1/jobs", headers=KEY).json()["jobs"] == before


def test_a_retry_has_the_same_images_and_equal_requests_have_equal_digests(app: ServedApp) -> None:
    client, found = Client(app), []
    for picture_of_unit in (LARGE, LARGE, PNG):
        unit = {"image": b64(picture_of_unit), "model": "own"}
        client.ask({"prompt": "x", "seed": 3, "override_settings": {"sd_model_checkpoint": "away"},
                    "alwayson_scripts": {"controlnet": {"args": [unit]}}})  # fmt: skip
        first = client.next()["object_id"]
        assert requests.post(app.url(f"/v1/jobs/{first}/cancel"), headers=KEY, timeout=PATIENCE_S).ok
        client.until_over()
        again = requests.post(app.url(f"/v1/jobs/{first}/retry"), headers=KEY, timeout=PATIENCE_S)
        assert again.ok, again.text
        request, body = passed_on(app, again.json()["id"])
        assert body["alwayson_scripts"]["controlnet"]["args"] == [unit]
        assert request == app.store.get(first).request
        repeated = requests.post(app.url(f"/v1/jobs/{first}/repeat"), json={}, headers=KEY, timeout=PATIENCE_S)
        assert passed_on(app, repeated.json()["id"])[1] == body
        found.append(request)
    client.close()
    spec = ModelSpec(name="away", source="", kinds=(Kind.TEXT2IMG,))
    digests = [reuse.digest_of(one, spec) for one in found]
    assert digests[0] == digests[1] != digests[2]


def test_a_payload_of_devoids_socket(app: ServedApp) -> None:
    client = Client(app)
    unit = {"model": "own", "image": b64(LARGE)}
    payload = {"prompt": "x", "steps": 2, "width": 32, "height": 32, "unknown": [1],
               "alwayson_scripts": {"controlnet": {"args": [unit]}}}  # fmt: skip
    client.ask(copy.deepcopy(payload))
    *_, ok = client.until_over()
    assert ok["gen_status"] == "ok", ok["result"]
    assert ok["payload"]["alwayson_scripts"] == {"controlnet": {"args": [{"model": "own", "image": ""}]}}
    _, body = passed_on(app, ok["object_id"])
    assert {name: body[name] for name in payload} == payload
    unit["image"] = "no picture"
    client.ask(payload)
    [error] = client.until_over()
    assert "`alwayson_scripts.controlnet.args[0].image`" in error["result"]["content"]
    client.close()


def test_controls_of_a_back_end_are_listed_by_their_names_there(app: ServedApp) -> None:
    listed = requests.get(app.url("/controlnet/model_list"), headers=KEY, timeout=PATIENCE_S).json()
    assert listed == {"model_list": ["control_edges [0123abcd]"]}
    described = next(one for one in app.get("/v1/models", headers=KEY).json()["models"] if one["name"] == "far")
    assert [control["name"] for control in described["controls"]] == ["edges"]
    fields = {"model": "far", "prompt": "x", "controls": [{"name": "edges", "image": b64(PNG)}]}
    response = requests.post(app.url("/v1/jobs"), json=fields, headers=KEY, timeout=PATIENCE_S)
    assert response.ok, response.text
    assert app.get(f"/v1/jobs/{response.json()['id']}/inputs/controls-0", headers=KEY).content == PNG
