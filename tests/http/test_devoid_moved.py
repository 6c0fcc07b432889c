"""What a moved Devoid Generator's services meet: its shipped ``.env``, its client's example, images on their way."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import Any

import requests
from PIL import Image

from app.protocols.devoid import routes
from jobs.startup import verify
from tests.support.api import wait_for
from tests.support.devoid_client import Client
from tests.support.pictures import encoded, picture
from tests.support.served_app import ServedApp

#: What the example of the official client sends: sizes and steps are its own.
A1111 = {
    "prompt": "aloha", "steps": 30, "cfg_scale": 7, "sampler_index": "Euler a", "width": 512, "height": 768,
    "seed": 1111111111111, "hr_scale": 1, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 768,
    "hr_resize_y": 1024, "denoising_strength": 0.7, "negative_prompt": "child, childish", "init_images": None,
}  # fmt: skip
KANDINSKY = {
    "steps": 30, "guidance_scale": 4, "height": 512, "width": 512, "sampler": "p_sampler", "prior_cf_scale": 4,
    "prior_steps": "5", "negative_prior_prompt": "", "negative_decoder_prompt": "", "prompt": "",
}  # fmt: skip
#: Like the demo models: too small for the example, and without mix2img.
MODELS = """
[small]
source = "nowhere"
kinds = ["text2img", "img2img"]
size_multiple_px = 8
defaults = { width = 128, height = 128 }
limits = { steps = [1, 100], width = [64, 256], height = [64, 256] }
clamp = true
"""


def test_the_example_of_the_official_client_gets_three_pictures(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS, TEST_MODE=1, SERVICES="discord:service-token", S3_IMAGE_ENDPOINT=" ")
    app.worker("small")
    client = Client(app, "discord", "service-token")
    image = base64.b64encode(encoded(picture(), "PNG")).decode()
    mix = {**KANDINSKY, "images_texts": ["first prompt", image, image, "second prompt"], "weights": [0.25] * 4}
    assert verify(app.settings) == ["TEST_MODE is set: pictures are drawn, and no model of this server runs"]
    sizes = []
    for executor, gen_type, payload in (
        ("kandinsky", "mix2img", mix), ("automatic1111", "text2img", A1111), ("automatic1111", "img2img", A1111),
    ):  # fmt: skip
        client.ask(payload, executor=executor, gen_type=gen_type)
        *_, ok = client.until_over()
        assert ok["gen_status"] == "ok", ok["result"]
        response = requests.get(ok["result"]["content"], timeout=3, stream=True)
        sizes.append(Image.open(response.raw).size)
    assert sizes == [(512, 512), (512, 768), (512, 768)]
    client.close()


def test_small_models_take_the_example_s_sizes(serve: Callable[..., ServedApp]) -> None:
    app = serve(MODELS.replace('source = "nowhere"', 'executor = "drawing"'), SERVICES="discord:service-token")
    app.worker("small")
    client = Client(app, "discord", "service-token")
    client.ask(A1111)
    *_, ok = client.until_over()
    job = requests.get(
        app.url(f"/v1/jobs/{ok['object_id']}"), headers={"Authorization": "Bearer discord:service-token"}, timeout=10
    ).json()
    assert (job["request"]["width"], job["request"]["height"]) == (168, 256)
    assert any("512 × 768 was changed to 168 × 256" in warning for warning in job["warnings"])
    # Outside of TEST_MODE, img2img needs its image.
    client.ask(A1111, gen_type="img2img")
    assert "`init_images` is required" in client.until_over()[-1]["result"]["content"]
    client.close()


def test_a_link_without_sync_waits_for_its_image(serve: Callable[..., ServedApp], monkeypatch: Any) -> None:
    app = serve(MODELS.replace('source = "nowhere"', 'executor = "drawing"'), SERVICES="discord:service-token")
    worker = app.worker("small")
    client = Client(app, "discord", "service-token")

    def link() -> str:
        client.ask(A1111, settings={"premium": 0, "moderate": 0, "sync_with_s3": 0})
        *_, ok = client.until_over()
        assert ok["gen_status"] == "ok"
        return str(ok["result"]["content"])

    worker.delivers.clear()
    found: list[requests.Response] = []
    url = link()
    thread = threading.Thread(target=lambda: found.append(requests.get(url, timeout=90)))
    thread.start()
    time.sleep(0.3)
    assert found == []
    worker.delivers.set()
    thread.join()
    assert (found[0].status_code, found[0].headers["Content-Type"]) == (200, "image/jpeg")

    monkeypatch.setattr(routes, "DELIVERY_WAIT_S", 0.2)
    worker.delivers.clear()
    url = link()
    assert requests.get(url, timeout=90).status_code == 404
    worker.delivers.set()
    wait_for(lambda: requests.get(url, timeout=90).ok, "the image to be stored")
    client.close()
