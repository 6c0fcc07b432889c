"""Devoid's services with the servers of a Devoid Generator: bodies are passed on, pictures are returned."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from tests.stack.test_lightx2v import png
from tests.support.blocking_fleet import MODELS, TOKEN, Fleet, await_slot
from tests.support.devoid_client import Client
from tests.support.fake_a1111 import FakeA1111
from tests.support.fake_kandinsky import FakeKandinsky
from tests.support.harness import Stack

KEY = {"headers": {"Authorization": "Bearer telegram:service_key"}}


@pytest.fixture
def fleet(start: Callable[..., Stack], tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(start, tmp_path)
    yield found
    found.close()


def text(image: bytes) -> str:
    return base64.b64encode(image).decode()


def ended(client: Client, payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
    client.ask(payload, **fields)
    return client.until_over()[-1]


def linked(message: dict[str, Any]) -> Any:
    """Return the picture that a link points to."""
    assert message["gen_status"] == "ok", message["result"]
    link = message["result"]["content"]
    assert link.endswith(f"{message['object_id']}.jpg")
    response = requests.get(link, timeout=60)
    assert response.headers["Content-Type"] == "image/jpeg"
    return Image.open(io.BytesIO(response.content))


def test_a_payload_arrives_unchanged_and_a_jpeg_comes_back(fleet: Fleet) -> None:
    fake, mixer = FakeA1111(), FakeKandinsky()
    stack = fleet("io", services=True, a1111_1=fake, kandinsky_1=mixer)
    client = Client(stack)
    payload = {
        "prompt": "a <lora:cat:0.5> (cat:1.2)", "negative_prompt": "dog", "init_images": None, "steps": 3,
        "cfg_scale": 6.5, "sampler_index": "Euler a", "sampler_name": "Some Sampler", "scheduler": "Align Your Steps",
        "width": 60, "height": 44, "seed": 42, "enable_hr": False, "hr_scale": 1, "hr_upscaler": "Latent",
        "hr_second_pass_steps": 0, "hr_resize_x": 768, "denoising_strength": 0.7, "subseed": 3, "subseed_strength": 0.1,
        "styles": ["oil"],
        "override_settings": {"sd_model_checkpoint": "dreamy [0123456789]", "CLIP_stop_at_last_layers": 2},
        "alwayson_scripts": {"some script": {"args": [1, None, "ü"]}}, "unknown": {"deep": [True]},
    }  # fmt: skip
    message = ended(client, payload)
    picture = linked(message)
    assert (picture.format, picture.size) == ("JPEG", (60, 44))
    [body] = fake.bodies
    assert {name: body[name] for name in payload if name != "init_images"} == {
        name: value for name, value in payload.items() if name != "init_images"
    }
    assert (body["save_images"], body["send_images"], body["batch_size"], body["n_iter"]) == (False, True, 1, 1)
    view = stack.get(f"/v1/jobs/{message['object_id']}", **KEY).json()
    assert (view["model"], view["slot"], view["warnings"]) == ("automatic1111", "a1111-1", [])

    image, mask = png("blue"), png("white")
    sent = {"prompt": "x", "init_images": [text(image)], "mask": text(mask), "inpainting_mask_invert": 1,
            "mask_blur": 9, "resize_mode": 2, "batch_size": 4, "save_images": True,
            "force_task_id": "mine"}  # fmt: skip
    linked(ended(client, sent, gen_type="img2img"))
    body = fake.bodies[-1]
    kept = ("inpainting_mask_invert", "mask_blur", "resize_mode")
    assert {name: body[name] for name in kept} == {name: sent[name] for name in kept}
    assert base64.b64decode(body["init_images"][0]) == image
    assert Image.open(io.BytesIO(base64.b64decode(body["mask"]))).convert("L").getpixel((0, 0)) == 255
    assert (body["batch_size"], body["save_images"], body["denoising_strength"]) == (1, False, 0.75)
    assert body["force_task_id"] != "mine"
    assert "inpainting_fill" not in body
    linked(ended(client, {"prompt": "x", "init_images": [text(image)], "denoising_strength": 0}, gen_type="img2img"))
    assert fake.bodies[-1]["denoising_strength"] == 0

    mixed = {"prompt": "", "images_texts": ["cat", text(image), text(mask), "dog"], "weights": [1, 0.5, 0.25, 2],
             "steps": 4, "guidance_scale": 7, "width": 64, "height": 32, "sampler": "ddim_sampler", "prior_cf_scale": 3,
             "prior_steps": "9", "negative_prior_prompt": "mud", "negative_decoder_prompt": "fog"}  # fmt: skip
    picture = linked(ended(client, mixed, executor="kandinsky", gen_type="mix2img"))
    assert (picture.format, picture.size) == ("JPEG", (64, 32))
    [body] = mixer.bodies
    assert {name: body[name] for name in mixed if name != "prompt"} == {
        name: value for name, value in mixed.items() if name != "prompt"
    }
    linked(ended(client, {"prompt": "x", "images_texts": [], "weights": []}, executor="kandinsky"))
    body = mixer.bodies[-1]
    assert (body["prompt"], body["steps"], body["guidance_scale"], body["width"]) == ("x", 30, 4, 512)
    client.close()


def test_what_cannot_be_passed_on_is_refused_by_name(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", services=True, a1111_1=fake)
    client = Client(stack)
    large = {"prompt": "x", "alwayson_scripts": {"controlnet": {"args": ["a" * 70_000]}}}
    message = ended(client, large)
    assert message["gen_status"] == "error"
    assert "alwayson_scripts" in message["result"]["content"]
    # The server's refusal is passed on with its text.
    fake.failure = (422, {"error": "HTTPException", "detail": "always on script nothing not found", "errors": ""})
    message = ended(client, {"prompt": "x", "steps": 1})
    assert "always on script nothing not found" in message["result"]["content"]
    assert len(fake.bodies) == 1
    client.close()


def test_a_devoid_generators_list_is_enough(start: Callable[..., Stack], tmp_path: Path) -> None:
    fake, mixer = FakeA1111().start(), FakeKandinsky().start()
    entries = [
        {"name": "A1111 main", "gpu": "3090", "timeout": 60.0, "model": "sd", "exec_type": "automatic1111",
         "endpoint": f"{fake.url}/sdapi/v1"},
        {"name": "first", "gpu": "", "timeout": 60, "model": "", "exec_type": "kandinsky", "endpoint": mixer.url},
    ]  # fmt: skip
    (tmp_path / "executors.json").write_text(json.dumps(entries))
    (tmp_path / "models.toml").write_text(MODELS)
    stack = start(
        "a1111-main", "kandinsky-first", "io", MODELS_FILE=tmp_path / "models.toml",
        BACKENDS_FILE=tmp_path / "executors.json", SERVICES="telegram:service_key", KANDINSKY_API_TOKEN=TOKEN,
    )  # fmt: skip
    client = Client(stack)
    await_slot(stack, "a1111-main", "idle", **KEY)
    assert linked(ended(client, {"prompt": "x", "steps": 2, "width": 64, "height": 64})).size == (64, 64)
    assert linked(ended(client, {"prompt": "x", "width": 64, "height": 64}, executor="kandinsky")).size == (64, 64)
    client.close()
    fake.stop()
    mixer.stop()
