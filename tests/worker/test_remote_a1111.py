"""AUTOMATIC1111 servers as back ends: their jobs, and all of their failures."""

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

from app.payloads.passthrough import MAX_BYTES
from tests.stack.test_lightx2v import png
from tests.support.blocking_fleet import Fleet, await_slot, slot
from tests.support.fake_a1111 import FakeA1111
from tests.support.harness import Stack, wait_for
from tests.support.pictures import encoded, picture

MODEL = "automatic1111"
SMALL = {"model": MODEL, "width": 64, "height": 48, "steps": 4}


@pytest.fixture
def fleet(start: Callable[..., Stack], tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(start, tmp_path)
    yield found
    found.close()


def opened(stack: Stack, job_id: str) -> Any:
    return Image.open(io.BytesIO(stack.get(f"/v1/jobs/{job_id}/result").content))


def text(image: bytes) -> str:
    return base64.b64encode(image).decode()


def test_a_job_runs_there_and_its_file_is_delivered_as_it_is(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", a1111_1=fake)
    job_id = stack.submit(**SMALL, prompt="a <lora:cat:0.5> cat", negative_prompt="blur", seed=7, guidance_scale=6,
                          scheduler="DPM++ 2M Karras", variation={"seed": 9, "strength": 0.25})  # fmt: skip
    view = stack.wait(job_id)
    assert (view["state"], view["slot"], view["attempt"]) == ("succeeded", "a1111-1", 1), view
    picture = opened(stack, job_id)
    assert (picture.format, picture.size) == ("PNG", (64, 48))
    assert picture.text["parameters"].startswith("a <lora:cat:0.5> cat")
    [body] = fake.bodies
    expected = {
        "prompt": "a <lora:cat:0.5> cat", "negative_prompt": "blur", "seed": 7, "steps": 4, "cfg_scale": 6, "width": 64,
        "height": 48, "batch_size": 1, "n_iter": 1, "sampler_name": "DPM++ 2M", "scheduler": "Karras", "subseed": 9,
        "subseed_strength": 0.25, "send_images": True, "save_images": False,
    }  # fmt: skip
    assert {name: body[name] for name in expected} == expected
    assert "passthrough" not in view["request"]
    assert slot(stack, "a1111-1")["models"] == [MODEL]
    defaults = stack.wait(stack.submit(model=MODEL))["request"]
    assert [defaults[name] for name in ("steps", "width", "height", "guidance_scale")] == [50, 512, 512, 7.0]


def test_all_images_come_in_the_wanted_format(fleet: Fleet) -> None:
    fake = FakeA1111(mode="RGBA")
    stack = fleet("io", a1111_1=fake)
    job_id = stack.submit(**SMALL, num_images=3, output_format="jpeg", seed=5)
    view = stack.wait(job_id)
    assert [output["media_type"] for output in view["outputs"]] == ["image/jpeg"] * 3
    assert [output["seed"] for output in view["outputs"]] == [5, 6, 7]
    picture = opened(stack, job_id)
    assert (picture.format, picture.mode) == ("JPEG", "RGB")
    assert min(picture.getpixel((5, 5))) > 250, "what is transparent is white"
    assert fake.bodies[0]["batch_size"] * fake.bodies[0]["n_iter"] == 3
    # The request must not be revealed, so the parameters that the back end wrote into the file are removed.
    plain = stack.submit(**SMALL, embed_metadata=False)
    assert stack.wait(plain)["state"] == "succeeded"
    assert [*opened(stack, plain).text] == ["XML:com.adobe.xmp"]  # says that a model made it, and nothing more


def test_pictures_and_how_they_are_used_arrive(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", a1111_1=fake)
    image, mask = png("blue"), png("white")
    use = {"area": "masked", "padding_px": 8, "blur_px": 4, "fill": "noise"}
    inpainted = stack.submit(**SMALL, kind="inpaint", image=text(image), mask=text(mask), strength=0.5, inpaint=use,
                             resize="crop")  # fmt: skip
    enlarged = stack.submit(**SMALL, hires={"width": 128, "height": 96, "steps": 3, "strength": 0.5})
    for job_id in (inpainted, enlarged):
        assert stack.wait(job_id)["state"] == "succeeded"
    first, second = sorted(fake.bodies, key=lambda body: "enable_hr" in body)
    assert base64.b64decode(first["init_images"][0]) == image
    assert Image.open(io.BytesIO(base64.b64decode(first["mask"]))).getpixel((0, 0)) in (255, (255, 255, 255))
    expected = {"denoising_strength": 0.5, "mask_blur": 4, "inpainting_fill": 2, "inpaint_full_res": True,
                "inpaint_full_res_padding": 8, "resize_mode": 1}  # fmt: skip
    assert {name: first[name] for name in expected} == expected
    expected = {"enable_hr": True, "hr_resize_x": 128, "hr_resize_y": 96, "hr_second_pass_steps": 3,
                "denoising_strength": 0.5}  # fmt: skip
    assert {name: second[name] for name in expected} == expected


def test_a_portrait_stays_one_unless_the_original_s_default_is_meant(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", a1111_1=fake)
    portrait = io.BytesIO()
    Image.new("RGB", (72, 128), "blue").save(portrait, "PNG")
    image = text(portrait.getvalue())
    job_id = stack.submit(model=MODEL, kind="img2img", image=image, steps=1)
    assert stack.wait(job_id)["state"] == "succeeded"
    body = {"init_images": [image], "steps": 1}
    assert requests.post(stack.url("/sdapi/v1/img2img"), json=body, timeout=60).status_code == 200
    sizes = [(body["width"], body["height"], body.get("resize_mode", 0)) for body in fake.bodies]
    assert sizes == [(384, 683, 1), (512, 512, 0)]


def test_progress_and_previews_are_passed_on(fleet: Fleet) -> None:
    fake = FakeA1111()
    fake.endless = True
    stack = fleet("io", a1111_1=fake)
    job_id = stack.submit(**SMALL, preview=True)
    view = stack.wait_until(
        job_id, lambda view: view["preview"] and view["progress"]["step"] == 4, "all steps and a preview"
    )
    assert view["progress"]["steps"] == 4
    preview = stack.get(view["preview"]["url"])
    assert preview.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(preview.content)).size == (64, 48)
    fake.endless = False
    assert stack.wait(job_id)["state"] == "succeeded"


@pytest.mark.parametrize("options", [{}, {"version": 1.7}, {"ui": False}])
def test_a_stop_reaches_it(fleet: Fleet, options: dict[str, Any]) -> None:
    fake = FakeA1111(**options)
    stack = fleet("io", a1111_1=fake)
    fake.endless = True
    job_id = stack.submit(**SMALL, prompt="first")
    stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "a step")
    stack.cancel(job_id)
    wait_for(lambda: fake.now is None, "the back end to stop")
    assert stack.status(job_id)["state"] == "cancelled"
    fake.endless = False
    # The next job is not affected.
    after = stack.submit(**SMALL, prompt="second")
    assert stack.wait(after)["state"] == "succeeded"
    assert [body["prompt"] for body in fake.interrupted] == ["first"]


def theirs(fake: FakeA1111, **body: Any) -> Any:
    """Send a job of another client, from a thread."""
    import threading

    answers: list[requests.Response] = []

    def call() -> None:
        answers.append(
            requests.post(f"{fake.url}/sdapi/v1/txt2img", json={"width": 8, "height": 8, **body}, timeout=60)
        )

    threading.Thread(target=call, daemon=True).start()
    wait_for(lambda: any(seen.get("prompt") == body["prompt"] for seen in list(fake.bodies)), "their job to be there")
    return answers


def test_a_stop_hits_nobody_elses_job(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", a1111_1=fake)
    await_slot(stack, "a1111-1", "idle")
    fake.endless = True
    ours = stack.submit(**SMALL, prompt="ours")
    stack.wait_until(ours, lambda view: view["progress"]["step"] > 0, "a step")
    answers = theirs(fake, prompt="theirs", steps=2)
    stack.cancel(ours)
    wait_for(lambda: fake.now and fake.now["body"]["prompt"] == "theirs", "their job to run")
    # While that job runs, the slot gets no job, and states the reason.
    assert "works for another client" in await_slot(stack, "a1111-1", "waiting")["waiting_for"]
    waiting = stack.submit(**SMALL, prompt="waits")
    assert stack.status(waiting)["state"] == "queued"
    fake.endless = False
    ended = stack.wait(waiting)
    assert (ended["state"], ended["attempt"]) == ("succeeded", 1)
    assert [body["prompt"] for body in fake.interrupted] == ["ours"]
    assert answers[0].status_code == 200



def test_one_that_dies_gives_its_job_to_another(fleet: Fleet) -> None:
    fakes = {"a1111_1": FakeA1111(), "a1111_2": FakeA1111()}
    stack = fleet("io", **fakes)
    for fake in fakes.values():
        fake.endless = True
    job_id = stack.submit(**SMALL)
    first = stack.wait_until(job_id, lambda view: view["progress"]["step"] > 0, "a step")["slot"]
    fakes[first.replace("-", "_")].stop()
    view = stack.wait_until(
        job_id, lambda view: view["slot"] != first and view["progress"]["step"] > 0, "steps elsewhere"
    )
    assert view["attempt"] == 2
    assert await_slot(stack, first, "waiting")["waiting_for"].startswith(f"{first} ")
    # Now the other back end dies as well: the job waits, and runs when one is back.
    fakes[view["slot"].replace("-", "_")].stop()
    stack.wait_until(job_id, lambda view: view["state"] == "queued", "its place in the queue")
    for fake in fakes.values():
        fake.endless = False
    fakes[first.replace("-", "_")].start()
    ended = stack.wait(job_id)
    assert (ended["state"], ended["attempt"], ended["slot"]) == ("succeeded", 3, first)


WRONG = {
    "no images": b'{"images": []}',
    "not base64": b'{"images": ["data:image/png;base64,%%%"]}',
    "no picture": json.dumps({"images": [text(b"GIF89a, or something")]}).encode(),
    "half a picture": json.dumps({"images": [text(png("red")[:60])]}).encode(),
    "no JSON": b"<html>",
}


def test_a_wrong_answer_makes_the_job_run_elsewhere(fleet: Fleet) -> None:
    fakes = {"a1111-1": FakeA1111(), "a1111-2": FakeA1111()}
    fakes["a1111-1"].mishaps = fakes["a1111-2"].mishaps
    stack = fleet("io", a1111_1=fakes["a1111-1"], a1111_2=fakes["a1111-2"])
    for number, content in enumerate(WRONG.values(), 1):
        for name in fakes:
            await_slot(stack, name, "idle")
        fakes["a1111-1"].mishaps.append(content)
        view = stack.wait(stack.submit(**SMALL))
        assert (view["state"], view["attempt"]) == ("succeeded", 2)
        assert [len(fake.bodies) for fake in fakes.values()] == [number, number], "one run on each"


def test_failures_end_with_the_servers_own_text(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", a1111_1=fake)
    fake.failure = (500, {"error": "OutOfMemoryError", "detail": "", "body": "", "errors": "CUDA is out of memory"})
    view = stack.wait(stack.submit(**SMALL))
    assert (view["state"], view["attempt"], len(fake.bodies)) == ("failed", 3, 3)
    assert "OutOfMemoryError: CUDA is out of memory" in view["error"]["message"]
    refusals = [
        (400, {"error": "HTTPException", "detail": "Sampler not found", "body": "", "errors": ""}, "Sampler not found"),
        (422, {"detail": [{"loc": ["body", "steps"], "msg": "ensure this is an integer", "type": "t"}]},
         "steps: ensure this is an integer"),
    ]  # fmt: skip
    for status, body, said in refusals:
        fake.failure = (status, body)
        view = stack.wait(stack.submit(**SMALL))
        assert (view["state"], view["attempt"], view["error"]["code"]) == ("failed", 1, "backend_failed")
        assert said in view["error"]["message"]
    fake.failure = None
    fake.result = WRONG["no picture"]
    view = stack.wait(stack.submit(**SMALL))
    assert (view["state"], view["attempt"]) == ("failed", 3)
    assert "not a picture" in view["error"]["message"]
    fake.result = None
    assert stack.wait(stack.submit(**SMALL))["state"] == "succeeded"


def test_a_run_that_takes_too_long_is_stopped_there_and_given_up(fleet: Fleet) -> None:
    slow = FakeA1111()
    slow.endless = True
    stack = fleet("io", a1111_1=slow, more="run_timeout_s = 0.5")
    job_id = stack.submit(**SMALL)
    ended = stack.wait(job_id)
    assert (ended["state"], ended["attempt"]) == ("failed", 3)
    assert "took longer than 0.5 s" in ended["error"]["message"]
    assert len(slow.interrupted) == 3
    assert slow.now is None


def test_who_counts_as_alive(fleet: Fleet) -> None:
    for_the_api, with_a_page = FakeA1111(ui=False), FakeA1111()
    silent, something = FakeA1111(ui=False), FakeA1111()
    silent.tells_progress = something.tells_progress = False
    stack = fleet(a1111_1=for_the_api, a1111_2=with_a_page, a1111_3=silent, a1111_4=something)
    for name in ("a1111-1", "a1111-2", "a1111-3"):
        assert await_slot(stack, name, "idle")["waiting_for"] is None
    assert "AUTOMATIC1111 would not" in await_slot(stack, "a1111-4", "waiting")["waiting_for"]


def test_clients_of_its_own_api_reach_it_through_us(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", a1111_1=fake)
    await_slot(stack, "a1111-1", "idle")
    sent = {
        "prompt": "a <lora:cat:0.5>", "steps": 3, "width": 64, "height": 48, "seed": 5, "batch_size": 2,
        "sampler_name": "Some Sampler", "styles": ["oil"], "alwayson_scripts": {"x": {"args": [1]}},
        "override_settings": {"sd_model_checkpoint": MODEL},
    }  # fmt: skip
    response = requests.post(stack.url("/sdapi/v1/txt2img"), json=sent, timeout=60)
    assert response.status_code == 200, response.text
    pictures = [Image.open(io.BytesIO(base64.b64decode(image))) for image in response.json()["images"]]
    assert [picture.size for picture in pictures] == [(64, 48)] * 2
    [body] = fake.bodies
    kept = ("prompt", "steps", "seed", "batch_size", "sampler_name", "styles", "alwayson_scripts")
    assert {name: body[name] for name in kept} == {name: sent[name] for name in kept}
    assert "override_settings" not in body  # the job contained only the local name of the model


def test_units_of_controlnet_reach_it_with_their_images(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", a1111_1=fake)
    await_slot(stack, "a1111-1", "idle")
    large, alpha = encoded(picture(size=(256, 256)), "PNG"), encoded(picture("RGBA"), "PNG")
    units = [{"module": "depth_anything_v2", "model": "own [0123abcd]", "image": text(large), "weight": 0.4},
             {"image": {"image": text(alpha), "mask": text(png("white"))}, "hr_option": "Both"}]  # fmt: skip
    sent = {"prompt": "x", "steps": 2, "width": 64, "height": 48, "seed": 5, "eta": 0.5,
            "alwayson_scripts": {"ControlNet": {"args": units}, "ADetailer": {"args": [True]}}}  # fmt: skip
    assert len(text(large)) > 3 * MAX_BYTES
    named = {**sent, "override_settings": {"sd_model_checkpoint": MODEL}}
    response = requests.post(stack.url("/sdapi/v1/txt2img"), json=named, timeout=60)
    assert response.status_code == 200, response.text
    [body] = fake.bodies
    assert {name: body[name] for name in sent} == sent
    [job] = stack.get("/v1/jobs?limit=1").json()["jobs"]
    assert text(large)[:60] not in json.dumps(job)
    assert stack.get(f"/v1/jobs/{job['id']}/inputs/passed_images-0").content == large


EDGES = """
[edges]
executor = "remote"
kinds = ["text2img", "img2img"]
[edges.controls.canny]
type = "controlnet"
source = "control_v11p_sd15_canny [d14c016b]"
defaults = { end = 0.75 }
"""


def test_controls_become_units_there(fleet: Fleet) -> None:
    fake = FakeA1111()
    stack = fleet("io", a1111_1=fake, models=EDGES, more='models = { edges = "dreamy" }')
    control = {"name": "canny", "image": text(png("blue")), "preprocess": "canny", "scale": 0.5}
    view = stack.wait(stack.submit(model="edges", prompt="x", width=64, height=48, steps=2, controls=[control]))
    assert (view["state"], view["slot"]) == ("succeeded", "a1111-1"), view
    [body] = fake.bodies
    [unit] = body["alwayson_scripts"]["ControlNet"]["args"]
    assert base64.b64decode(unit.pop("image")) == png("blue")
    assert unit == {
        "enabled": True, "model": "control_v11p_sd15_canny [d14c016b]", "module": "canny", "weight": 0.5,
        "guidance_start": 0.0, "guidance_end": 0.75, "resize_mode": "Crop and Resize", "pixel_perfect": True,
        "save_detected_map": False, "threshold_a": 100.0, "threshold_b": 200.0,
    }  # fmt: skip
    assert body["override_settings"] == {"sd_model_checkpoint": "dreamy"}
