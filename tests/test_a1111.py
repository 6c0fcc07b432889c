"""AUTOMATIC1111's API: every route as its clients know it, and the independent client ``webuiapi``."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import requests
from PIL import Image

from tests.harness import Stack

#: A body as most clients send it.
BODY = {"prompt": "a red circle", "negative_prompt": "blur", "steps": 3, "width": 32, "height": 32, "seed": 7}


def post(stack: Stack, path: str, body: Any = None, **options: Any) -> requests.Response:
    return requests.post(stack.url(f"/sdapi/v1/{path}"), json=body, timeout=60, **options)


def opened(text: str) -> Image.Image:
    image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    image.load()
    return image


def picture(colour: str = "red", side: int = 32) -> str:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_txt2img_answers_with_images_parameters_and_info(stack: Stack) -> None:
    response = post(stack, "txt2img", {**BODY, "n_iter": 2, "batch_size": 2})
    assert response.status_code == 200, response.text
    assert float(response.headers["X-Process-Time"]) >= 0
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert set(body) == {"images", "parameters", "info"}
    assert len(body["images"]) == 4
    assert len(set(body["images"])) == 4
    assert body["parameters"]["prompt"] == "a red circle"
    assert body["parameters"]["enable_hr"] is False
    info = json.loads(body["info"])
    assert (info["seed"], info["all_seeds"], info["batch_size"]) == (7, [7, 8, 9, 10], 2)
    assert (info["width"], info["height"], info["steps"], info["cfg_scale"]) == (32, 32, 3, 7.0)
    for text, image in zip(info["infotexts"], map(opened, body["images"]), strict=True):
        assert image.info["parameters"] == text
        assert image.size == (32, 32)
    assert "Negative prompt: blur" in info["infotexts"][0]
    assert ", Seed: 9, " in info["infotexts"][2]
    alone = post(stack, "txt2img", {**BODY, "seed": 9, "batch_size": 2}).json()["images"]
    assert [opened(one).tobytes() for one in alone] == [opened(one).tobytes() for one in body["images"][2:]]
