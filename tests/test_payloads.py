"""Bodies of AUTOMATIC1111 and Kandinsky as fields of ours, and real pipelines that compute them."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from app.payloads import a1111, in_their_words, kandinsky
from jobs.errors import InvalidRequest, ModerationRefused, Problem
from jobs.model_spec import Kind
from jobs.models import ModelRegistry
from jobs.requests import resolve
from tests.devoid_client import Client

MODELS = """
[first]
executor = "drawing"
kinds = ["text2img", "img2img", "inpaint"]
schedulers = ["Euler", "Euler a", "DPM++ 2M", "DPM++ 2M Karras"]

[mixer]
executor = "drawing"
kinds = ["text2img", "mix2img"]

[kandinsky]
source = "hub/decoder"
prior = "hub/prior"
kinds = ["text2img", "mix2img"]
schedulers = ["DDPM", "DDIM"]
"""


def picture(colour: str = "red", size: tuple[int, int] = (64, 64)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    path = tmp_path / "models.toml"
    path.write_text(MODELS)
    return ModelRegistry.from_file(path)


def values(registry: ModelRegistry, kind: Kind = Kind.TEXT2IMG, **payload: Any) -> dict[str, Any]:
    found = a1111.wanted(payload, kind, registry, "").values
    return {name: value for name, value in found.items() if value is not None}


def test_a_body_in_our_words(registry: ModelRegistry) -> None:
    assert values(registry, prompt="x", cfg_scale=7.5, batch_size=2, n_iter=2, seed=-1, steps=9) == {
        "model": "first", "kind": "text2img", "prompt": "x", "guidance_scale": 7.5, "num_images": 4, "steps": 9,
    }  # fmt: skip
    image = picture()
    found = values(registry, Kind.IMG2IMG, init_images=[image], seed=5)
    assert (found["kind"], found["image"], found["strength"], found["seed"]) == ("img2img", image, 0.75, 5)


@pytest.mark.parametrize(
    ("sent", "scheduler", "warns"),
    [
        ({"sampler_name": "Euler a"}, "Euler a", False),
        ({"sampler_index": "Euler a", "sampler_name": None}, "Euler a", False),
        ({"sampler_name": "k_euler", "sampler_index": "Euler a"}, "Euler", False),
        ({"sampler_name": "DPM++ 2M Karras"}, "DPM++ 2M Karras", False),
        ({"sampler_name": "DPM++ 2M", "scheduler": "karras"}, "DPM++ 2M Karras", False),
        ({"sampler_name": "DPM++ 2M", "scheduler": "automatic"}, "DPM++ 2M", False),
        ({"sampler_name": "Euler", "scheduler": "Karras"}, "Euler", True),
        ({"sampler_name": "Restart"}, None, True),
        ({}, None, False),
    ],
)
def test_samplers_with_their_schedules(
    registry: ModelRegistry, sent: dict[str, Any], scheduler: str | None, warns: bool
) -> None:
    found = a1111.wanted({"prompt": "x", **sent}, Kind.TEXT2IMG, registry, "")
    assert found.values["scheduler"] == scheduler
    assert bool(found.warnings) == warns


def test_loras_of_the_prompt(registry: ModelRegistry) -> None:
    found = values(registry, prompt="a <lora:paint:0.5> b <lora:ink>")
    assert found["prompt"] == "a  b "
    assert found["loras"] == [{"name": "paint", "weight": 0.5}, {"name": "ink", "weight": 1.0}]
    with pytest.raises(InvalidRequest, match="weight of lora"):
        values(registry, prompt="<lora:ink:much>")


def test_a_mask_makes_it_inpainting_and_may_be_inverted(registry: ModelRegistry) -> None:
    image, mask = picture(), picture("black")
    found = values(registry, Kind.IMG2IMG, init_images=[image], mask=mask)
    assert (found["kind"], found["mask"]) == ("inpaint", mask)
    found = values(
        registry, Kind.IMG2IMG, init_images=[image], mask=f"data:image/png;base64,{mask}", inpainting_mask_invert=1
    )
    with Image.open(io.BytesIO(base64.b64decode(found["mask"]))) as turned:
        assert turned.convert("RGB").getcolors() == [(64 * 64, (255, 255, 255))]
    broken = values(registry, Kind.IMG2IMG, init_images=[image], mask="QUJD", inpainting_mask_invert=1)
    assert broken["mask"] == "QUJD"  # refused where it is stored


def test_what_is_not_done_is_named(registry: ModelRegistry) -> None:
    sent = {"prompt": "x", "eta": 0.5, "restore_faces": True, "styles": [], "tiling": None, "init_images": None}
    assert a1111.wanted(sent, Kind.TEXT2IMG, registry, "").warnings == [
        "restore_faces was ignored",
        "eta was ignored",
    ]


#: Of every body of the official Devoid client.
ALWAYS = {"hr_scale": 1, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 768, "hr_resize_y": 1024,
          "denoising_strength": 0.7}  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "hires"),
    [
        (ALWAYS, None),
        ({**ALWAYS, "enable_hr": False}, None),
        ({**ALWAYS, "enable_hr": True}, {"width": 768, "height": 1024, "strength": 0.7}),
        ({"enable_hr": True}, {"scale": 2.0}),
        ({"enable_hr": True, "hr_scale": 1.5, "hr_resize_x": 0, "hr_upscaler": None}, {"scale": 1.5}),
        ({"enable_hr": True, "hr_scale": 3, "hr_resize_y": 900, "hr_upscaler": "Nearest"}, {"height": 900}),
        ({"enable_hr": True, "hr_second_pass_steps": 9, "denoising_strength": None}, {"scale": 2.0, "steps": 9}),
    ],
)
def test_hires_fix(registry: ModelRegistry, sent: dict[str, Any], hires: dict[str, Any] | None) -> None:
    found = a1111.wanted({"prompt": "x", **sent}, Kind.TEXT2IMG, registry, "")
    assert found.warnings == []
    given = found.values["hires"]
    assert given is None if hires is None else {n: v for n, v in given.items() if v is not None} == hires


def test_hires_fix_with_what_is_not_done(registry: ModelRegistry) -> None:
    same = {"hr_prompt": "x", "hr_negative_prompt": "", "hr_sampler_name": "Use same sampler", "hr_scheduler": None}
    sent = {"prompt": "x", "enable_hr": True, **same}
    assert a1111.wanted(sent, Kind.TEXT2IMG, registry, "").warnings == []
    others = {"hr_prompt": "y", "hr_sampler_name": "Heun", "hr_checkpoint_name": "other", "hr_upscaler": "R-ESRGAN 4x+"}
    assert a1111.wanted({**sent, **others}, Kind.TEXT2IMG, registry, "").warnings == [
        "there is no hr_upscaler R-ESRGAN 4x+; Lanczos was used",
        "hr_prompt was ignored: the second pass has that of the first",
        "hr_sampler_name was ignored: the second pass has that of the first",
        "hr_checkpoint_name was ignored: the second pass has that of the first",
    ]
    found = a1111.wanted(sent, Kind.TEXT2IMG, registry, "mixer")
    assert (found.values["hires"], found.warnings) == (
        None,
        ["enable_hr was ignored: model mixer offers no img2img"],
    )
    image = {**sent, "init_images": [picture()]}
    assert a1111.wanted(image, Kind.IMG2IMG, registry, "").values["hires"] is None


def test_subseeds(registry: ModelRegistry) -> None:
    assert values(registry, subseed=5, subseed_strength=0.3)["variation"] == {"seed": 5, "strength": 0.3}
    assert values(registry, subseed_strength=1)["variation"] == {"seed": -1, "strength": 1.0}
    for nothing in ({"subseed": 5}, {"subseed": 5, "subseed_strength": 0}, {"subseed_strength": None}):
        assert "variation" not in values(registry, **nothing)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"enable_hr": True, "hr_scale": 0.5}, "hr_scale"),
        ({"enable_hr": True, "hr_resize_x": 64}, "hr_resize_x"),
        ({"enable_hr": True, "hr_second_pass_steps": 999}, "hr_second_pass_steps"),
        ({"enable_hr": True, "denoising_strength": 0}, "denoising_strength"),
        ({"subseed_strength": 2}, "subseed_strength"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_sent(registry: ModelRegistry, sent: dict[str, Any], field: str) -> None:
    found = a1111.wanted({"prompt": "x", **sent}, Kind.TEXT2IMG, registry, "").values
    with pytest.raises(InvalidRequest) as caught:
        resolve(registry, found)
    assert [problem.field for problem in in_their_words(caught.value, a1111.NAMES).problems][:1] == [field]


def test_settings_of_kandinskys_prior(registry: ModelRegistry) -> None:
    sent = {
        "prompt": "x",
        "prior_steps": "5",
        "prior_cf_scale": 4,
        "negative_prior_prompt": "bad",
        "sampler": "p_sampler",
    }
    found = kandinsky.wanted(sent, Kind.TEXT2IMG, registry, "kandinsky")
    assert found.values["prior"] == {"steps": 5, "guidance_scale": 4.0, "negative_prompt": "bad"}
    assert (found.values["negative_prompt"], found.values["scheduler"], found.warnings) == (None, "DDPM", [])
    assert (
        kandinsky.wanted({**sent, "prior_steps": 7}, Kind.TEXT2IMG, registry, "kandinsky").values["prior"]["steps"] == 7
    )
    empty = {"prompt": "x", "prior_steps": "", "negative_prior_prompt": ""}
    request, _ = resolve(registry, kandinsky.wanted(empty, Kind.TEXT2IMG, registry, "kandinsky").values)
    assert request.prior is None
    # A model without a prior: as if they had not been sent.
    other = kandinsky.wanted(sent, Kind.TEXT2IMG, registry, "mixer")
    assert ("prior" in other.values, other.values["negative_prompt"], other.warnings) == (False, "bad", [])


@pytest.mark.parametrize(
    ("sampler", "scheduler", "warns"),
    [("ddim_sampler", "DDIM", False), ("plms_sampler", None, True), ("other", None, True), ("", None, False)],
)
def test_kandinskys_samplers(registry: ModelRegistry, sampler: str, scheduler: str | None, warns: bool) -> None:
    found = kandinsky.wanted({"prompt": "x", "sampler": sampler}, Kind.TEXT2IMG, registry, "kandinsky")
    assert (found.values["scheduler"], bool(found.warnings)) == (scheduler, warns)


@pytest.mark.parametrize("named", ["mixer", "mixer.safetensors [0123456789]", "mixer [abc]"])
def test_the_model_may_be_named(registry: ModelRegistry, named: str) -> None:
    assert values(registry, override_settings={"sd_model_checkpoint": named})["model"] == "mixer"
    with pytest.raises(InvalidRequest, match="override_settings"):
        values(registry, override_settings={"sd_model_checkpoint": "nothing"})
    with pytest.raises(InvalidRequest, match="offers img2img"):
        a1111.wanted({"init_images": [picture()]}, Kind.IMG2IMG, registry, "mixer")


def test_a_mix_in_our_words(registry: ModelRegistry) -> None:
    sent = {"images_texts": ["cat", "QQ==", None, ""], "weights": [0.2, 0.3, 0.4, 0.1], "negative_prior_prompt": "bad"}
    found = kandinsky.wanted(sent, Kind.MIX2IMG, registry, "").values
    assert found["model"] == "mixer"
    assert found["mix"] == [{"text": "cat", "weight": 0.2}, {"image": "QQ==", "weight": 0.3}]
    assert found["negative_prompt"] == "bad"
    for wrong in ({"weights": [1]}, {"images_texts": ["a"]}, {"images_texts": [None] * 4}):
        with pytest.raises(InvalidRequest, match=r"weights|images_texts"):
            kandinsky.wanted({**sent, **wrong}, Kind.MIX2IMG, registry, "")
    with pytest.raises(InvalidRequest, match="prompt"):
        kandinsky.wanted({}, Kind.TEXT2IMG, registry, "")


def test_errors_keep_their_class_and_name_their_fields() -> None:
    error = in_their_words(ModerationRefused(Problem("guidance_scale", "no")), a1111.NAMES)
    assert isinstance(error, ModerationRefused)
    assert error.message == "cfg_scale: no"


@pytest.mark.timeout(300)  # pipelines of all families are made first
def test_real_pipelines_compute_them(start: Any, families_file: Path) -> None:
    stack = start("gpu0", "io", MODELS_FILE=families_file, KANDINSKY_MODEL="kandinsky")
    client = Client(stack, key=None)
    size = {"width": 64, "height": 64, "steps": 4}
    sent = [
        ("automatic1111", "text2img", {"prompt": "x", "sampler_name": "DPM++ 2M", "scheduler": "karras", **size}),
        ("automatic1111", "text2img", {"prompt": "x", "width": 32, "height": 48, "steps": 4, "enable_hr": True,
                                       "hr_resize_x": 64, "hr_resize_y": 64, "subseed": 3, "subseed_strength": 0.2}),
        ("automatic1111", "img2img", {"prompt": "x", "init_images": [picture()], "denoising_strength": 0.5, **size}),
        ("automatic1111", "img2img", {"prompt": "x", "init_images": [picture()], "mask": picture("white"), **size}),
        ("kandinsky", "text2img", {"prompt": "x", "negative_decoder_prompt": "y", **size}),
        ("kandinsky", "text2img", {"prompt": "x", "prior_steps": "3", "prior_cf_scale": 2, "negative_prior_prompt": "y",
                                   "sampler": "p_sampler", **size}),
        ("kandinsky", "mix2img",
         {"images_texts": ["a cat", picture(), picture("blue"), "a dog"], "weights": [0.3, 0.3, 0.2, 0.2], **size}),
    ]  # fmt: skip
    for executor, gen_type, payload in sent:
        client.ask(payload, executor=executor, gen_type=gen_type)
        *_, last = client.until_over()
        assert last["gen_status"] == "ok", last
        with Image.open(io.BytesIO(requests.get(last["result"]["content"], timeout=10).content)) as image:
            assert (image.format, image.size) == ("JPEG", (64, 64))
    client.close()
