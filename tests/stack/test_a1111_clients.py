"""Clients of AUTOMATIC1111's API: the package ``webuiapi``, and others by the calls that they make."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import pytest
import requests
import webuiapi
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.support.a1111_client import BODY, ENDLESS, Waiting, get, opened, picture, pixels, post, until_running
from tests.support.harness import Stack, wait_for

SIZE = {"prompt": "a red circle", "width": 32, "height": 32, "steps": 3}


@pytest.fixture
def api(stack: Stack) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(host="127.0.0.1", port=stack.port, steps=3)


def red() -> Image.Image:
    return Image.new("RGB", (32, 32), "red")


def test_webuiapi_makes_images(api: webuiapi.WebUIApi) -> None:
    made = api.txt2img(**SIZE, seed=5, n_iter=2, batch_size=2)
    assert [image.size for image in made.images] == [(32, 32)] * 4
    assert made.info["all_seeds"] == [5, 6, 7, 8]
    assert made.parameters["prompt"] == "a red circle"
    changed = api.img2img(images=[red()], **SIZE, seed=5, denoising_strength=0.5)
    assert changed.image.size == (32, 32)
    assert changed.info["denoising_strength"] == 0.5


def test_webuiapi_waits_without_blocking(api: webuiapi.WebUIApi) -> None:
    async def both() -> list[Any]:
        calls = [api.txt2img(**SIZE, seed=seed, use_async=True) for seed in (1, 2)]
        return [*await asyncio.gather(*calls), await api.img2img(images=[red()], **SIZE, seed=3, use_async=True)]

    assert [made.info["seed"] for made in asyncio.run(both())] == [1, 2, 3]


def test_webuiapi_reads_and_enlarges(api: webuiapi.WebUIApi) -> None:
    made = api.txt2img(**SIZE, seed=5, negative_prompt="blur, noise: much").image
    said = api.png_info(made)
    assert said.info.startswith("a red circle\nNegative prompt: blur, noise: much\nSteps: 3, ")
    expected = {"Steps": "3", "Seed": "5", "Size-1": "32", "Size-2": "32", "Clip skip": "1", "Model": "tiny-image",
                "Prompt": "a red circle", "Negative prompt": "blur, noise: much"}  # fmt: skip
    assert {name: said.parameters[name] for name in expected} == expected
    assert api.png_info(red()).info == ""
    larger = api.extra_single_image(image=red(), upscaler_1="Lanczos", upscaling_resize=2)
    assert larger.image.size == (64, 64)
    several = api.extra_batch_images(images=[red(), red()], upscaler_1="Nearest", resize_mode=1,
                                     upscaling_resize_w=48, upscaling_resize_h=40)  # fmt: skip
    assert [image.size for image in several.images] == [(48, 40)] * 2
    assert api.extra_single_image(image=red()).image.size == (32, 32)
    with pytest.raises(RuntimeError, match="404"):
        api.interrogate(red())


def test_webuiapi_lists_and_sets(api: webuiapi.WebUIApi) -> None:
    assert "tiny-image" in api.util_get_model_names()
    assert api.util_get_sampler_names() == ["Euler"]
    assert "automatic" in api.util_get_scheduler_names()
    assert api.util_get_current_model() == "tiny-image"
    api.util_set_model("tiny-image")
    assert api.set_options({"CLIP_stop_at_last_layers": 1}) is None
    assert api.get_options()["samples_format"] == "png"
    assert {one["name"] for one in api.get_upscalers()} == {"None", "Lanczos", "Nearest"}
    assert api.get_latent_upscale_modes() == [{"name": "Latent"}]
    for nothing in (api.get_sd_vae, api.get_hypernetworks, api.get_face_restorers, api.get_realesrgan_models,
                    api.get_prompt_styles, api.get_loras):  # fmt: skip
        assert nothing() == []
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.get_cmd_flags() == {}
    memory = api.get_memory()
    assert memory["ram"]["total"] == memory["ram"]["free"] + memory["ram"]["used"] > 0
    assert set(memory["cuda"]) in ({"error"}, {"system", "active", "allocated", "reserved", "inactive", "events"})
    assert api.refresh_checkpoints() is None
    assert (api.skip(), api.interrupt()) == (None, {})
    api.util_wait_for_ready(check_interval=0.1)
    assert api.get_progress()["state"]["job_count"] == 0


@pytest.mark.parametrize("headers", [{}, {"authorization": ""}])
def test_open_webui(stack: Stack, headers: dict[str, str]) -> None:
    options = get(stack, "options", headers=headers)
    assert options["sd_model_checkpoint"] in [one["title"] for one in get(stack, "sd-models", headers=headers)]
    assert all(one["model_name"] for one in get(stack, "sd-models", headers=headers))
    assert post(stack, "options", options, headers=headers).status_code == 200
    sent = {"prompt": "a red circle", "batch_size": 2, "width": 32, "height": 32, "steps": 2, "negative_prompt": "x"}
    assert len(pixels(post(stack, "txt2img", sent, headers=headers))) == 2


def test_silly_tavern(stack: Stack) -> None:
    for path, name in (("samplers", "name"), ("schedulers", "name"), ("upscalers", "name"), ("sd-models", "title"),
                       ("latent-upscale-modes", "name"), ("sd-vae", "model_name")):  # fmt: skip
        assert all(one[name] for one in get(stack, path))
    options = get(stack, "options")
    assert post(stack, "options", {"sd_model_checkpoint": options["sd_model_checkpoint"]}).json() is None
    progress = get(stack, "progress")
    assert (progress["progress"], progress["state"]["job_count"]) == (0.0, 0)
    sent = {**ENDLESS, "sampler_name": "Euler a", "scheduler": "Automatic", "enable_hr": False, "hr_upscaler": "Latent",
            "hr_scale": 1, "hr_additional_modules": [], "denoising_strength": 0.7, "hr_second_pass_steps": 0,
            "override_settings": {"CLIP_stop_at_last_layers": 1}, "override_settings_restore_afterwards": True,
            "clip_skip": 1, "save_images": True, "send_images": True, "do_not_save_grid": False,
            "do_not_save_samples": False, "restore_faces": False}  # fmt: skip
    call = Waiting(stack, sent)
    until_running(stack)
    assert post(stack, "interrupt").status_code == 200  # its user has left
    assert call.end().status_code == 200
    wait_for(lambda: get(stack, "progress")["state"]["job_count"] == 0, "idleness")


def test_the_back_end_loop_of_a_devoid_generator(stack: Stack) -> None:
    endpoint = stack.url("/a1111/sdapi/v1")
    assert requests.get(endpoint[: -len("sdapi/v1")], timeout=60).content == b'{"detail":"Not Found"}'
    payload = {
        "prompt": "a red circle", "init_images": None, "steps": 3, "cfg_scale": 7, "sampler_index": "Euler a",
        "width": 32, "height": 32, "seed": 42, "hr_scale": 1, "hr_upscaler": "Latent", "hr_second_pass_steps": 0,
        "hr_resize_x": 768, "hr_resize_y": 1024, "denoising_strength": 0.7, "negative_prompt": "child, childish",
    }  # fmt: skip
    for kind, images in (("txt2img", None), ("img2img", [picture()])):
        answer = requests.post(f"{endpoint}/{kind}", json={**payload, "init_images": images}, timeout=60).json()
        first = answer["images"][0].split(",", 1)[0]
        Image.open(io.BytesIO(base64.b64decode(first))).verify()
    assert "images" not in requests.post(f"{endpoint}/img2img", json=payload, timeout=60).json()


def test_infotext_of_other_programs_is_read(stack: Stack) -> None:
    said = "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model: x"
    text = f'a cat,\nsitting\nNegative prompt: dog\n{said}, Lora hashes: "a: 1, b: 2", Version: v1.10.1'
    notes, file = Image.new("RGB", (8, 8)), io.BytesIO()
    info = PngInfo()
    info.add_text("parameters", text)
    info.add_text("Software", "x")
    notes.save(file, "PNG", pnginfo=info)
    said = post(stack, "png-info", {"image": base64.b64encode(file.getvalue()).decode()}).json()
    assert (said["info"], said["items"]) == (text, {"Software": "x"})
    found = said["parameters"]
    assert (found["Prompt"], found["Negative prompt"]) == ("a cat,\nsitting", "dog")
    assert (found["Size-1"], found["Size-2"], found["Schedule type"]) == ("512", "768", "Karras")
    assert found["Lora hashes"] == "a: 1, b: 2"
    for name in ("jpg", "webp"):
        made = post(stack, "txt2img", {**BODY, "override_settings": {"samples_format": name}}).json()["images"][0]
        said = post(stack, "png-info", {"image": made}).json()
        assert said["parameters"]["Seed"] == "7"
        assert opened(made).size == (32, 32)
