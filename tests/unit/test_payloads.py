"""Bodies of AUTOMATIC1111 and Kandinsky, mapped to fields of the native API."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app import attachments
from app.payloads import a1111, kandinsky, rename_fields
from app.protocols.a1111 import bodies
from jobs.errors import InvalidRequest, ModerationRefused, Problem
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind
from jobs.requests.generation import resolve

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
    found = a1111.map_body(payload, kind, registry, "").values
    return {name: value for name, value in found.items() if value is not None}


def test_a_body_in_our_words(registry: ModelRegistry) -> None:
    assert values(registry, prompt="x", cfg_scale=7.5, batch_size=2, n_iter=2, seed=-1, steps=9) == {
        "model": "first", "kind": "text2img", "prompt": "x", "guidance_scale": 7.5, "num_images": 4, "steps": 9,
    }  # fmt: skip
    image = picture()
    found = values(registry, Kind.IMG2IMG, init_images=[image], seed=5)
    assert (found["kind"], found["image"], found["strength"], found["seed"]) == ("img2img", image, 0.75, 5)


def masked(registry: ModelRegistry, **payload: Any) -> dict[str, Any]:
    return values(registry, Kind.IMG2IMG, init_images=[picture()], mask=picture("black"), **payload)


def test_a_mask_makes_it_inpainting_by_the_other_servers_defaults(registry: ModelRegistry) -> None:
    found = masked(registry)
    assert (found["kind"], found["mask"], found["resize"]) == ("inpaint", picture("black"), "stretch")
    assert found["inpaint"] == {"area": "masked", "padding_px": 0, "blur_px": 4, "fill": "blurred"}
    assert not found["mask_inverted"]
    assert not values(registry, Kind.IMG2IMG, init_images=[picture()], mask_blur=9).keys() & {"inpaint", "mask"}
    assert not values(registry, resize_mode=9, mask_blur=9).keys() & {"resize", "inpaint"}


@pytest.mark.parametrize(
    ("sent", "name", "value"),
    [
        ({"mask_blur": 6}, "blur_px", 6),
        ({"mask_blur": 0, "mask_blur_x": 9, "mask_blur_y": 9}, "blur_px", 0),
        ({"mask_blur": None, "mask_blur_x": 2, "mask_blur_y": 2}, "blur_px", 2),
        ({"mask_blur_x": 9}, "blur_px", 6.5),
        ({"inpainting_fill": 0}, "fill", "blurred"),
        ({"inpainting_fill": 1}, "fill", "original"),
        ({"inpainting_fill": 2}, "fill", "noise"),
        ({"inpainting_fill": 3}, "fill", "nothing"),
        ({"inpaint_full_res": False}, "area", "whole"),
        ({"inpaint_full_res": None}, "area", "masked"),
        ({"inpaint_full_res_padding": 32}, "padding_px", 32),
    ],
)
def test_how_a_mask_is_used(registry: ModelRegistry, sent: dict[str, Any], name: str, value: Any) -> None:
    assert masked(registry, **sent)["inpaint"][name] == value


@pytest.mark.parametrize(("number", "resize"), list(enumerate(["stretch", "crop", "pad", "stretch"])))
def test_resize_modes(registry: ModelRegistry, number: int, resize: str) -> None:
    found = a1111.map_body({"init_images": [picture()], "resize_mode": number}, Kind.IMG2IMG, registry, "")
    assert found.values["resize"] == resize
    assert bool(found.warnings) == (number == 3)


@pytest.mark.parametrize("sent", [{"resize_mode": 4}, {"inpainting_fill": -1}, {"mask_blur": "much"}])
def test_numbers_that_stand_for_nothing_are_refused(registry: ModelRegistry, sent: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(sent))):
        masked(registry, **sent)


def test_what_is_done_to_a_mask_in_another_way_is_named(registry: ModelRegistry) -> None:
    sent = {"init_images": [picture()], "mask": picture(), "mask_blur_y": 8, "mask_round": False, "latent_mask": "x"}
    assert a1111.map_body(sent, Kind.IMG2IMG, registry, "").warnings == [
        "latent_mask was ignored",
        "mask_blur_x and mask_blur_y: their mean 6 was used",
        "mask_round was ignored: a mask counts from half-way grey on",
    ]


def test_a_mask_may_be_inverted(registry: ModelRegistry) -> None:
    """The mask is inverted when it is stored. Links are stored too, and files that are not pictures are refused."""
    taken = [attachments.take(masked(registry, inpainting_mask_invert=number), {}) for number in (0, 1)]
    assert [pictures.mask_inverted for pictures in taken] == [False, True]
    assert all(pictures.mask_repaints == "opaque" for pictures in taken)
    assert taken[0].fingerprint() != taken[1].fingerprint()


def test_what_is_not_done_is_named(registry: ModelRegistry) -> None:
    sent = {"prompt": "x", "eta": 0.5, "restore_faces": True, "styles": [], "tiling": None, "init_images": None}
    assert a1111.map_body(sent, Kind.TEXT2IMG, registry, "").warnings == [
        "restore_faces was ignored",
        "eta was ignored",
    ]


#: Fields of every body of the official Devoid client.
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
    found = a1111.map_body({"prompt": "x", **sent}, Kind.TEXT2IMG, registry, "")
    assert found.warnings == []
    given = found.values["hires"]
    assert given is None if hires is None else {n: v for n, v in given.items() if v is not None} == hires


def test_hires_fix_with_what_is_not_done(registry: ModelRegistry) -> None:
    same = {"hr_prompt": "x", "hr_negative_prompt": "", "hr_sampler_name": "Use same sampler", "hr_scheduler": None}
    sent = {"prompt": "x", "enable_hr": True, **same}
    assert a1111.map_body(sent, Kind.TEXT2IMG, registry, "").warnings == []
    words = {"sampler_name": "DPM++ 2M", "hr_sampler_name": "DPM++ 2M Karras", "hr_scheduler": "karras"}
    assert not a1111.map_body({"enable_hr": True, **words}, Kind.TEXT2IMG, registry, "").warnings
    others = {"hr_prompt": "y", "hr_sampler_name": "Heun", "hr_checkpoint_name": "other", "hr_upscaler": "R-ESRGAN 4x+"}
    assert a1111.map_body({**sent, **others}, Kind.TEXT2IMG, registry, "").warnings == [
        "there is no hr_upscaler R-ESRGAN 4x+; Lanczos was used",
        "hr_prompt was ignored: the second pass has that of the first",
        "hr_sampler_name was ignored: the second pass has that of the first",
        "hr_checkpoint_name was ignored: the second pass has that of the first",
    ]
    found = a1111.map_body(sent, Kind.TEXT2IMG, registry, "mixer")
    assert (found.values["hires"], found.warnings) == (
        None,
        ["enable_hr was ignored: model mixer offers no img2img"],
    )
    image = {**sent, "init_images": [picture()]}
    assert a1111.map_body(image, Kind.IMG2IMG, registry, "").values["hires"] is None


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
        ({"enable_hr": True, "denoising_strength": 1.5}, "denoising_strength"),
        ({"subseed_strength": 2}, "subseed_strength"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_sent(registry: ModelRegistry, sent: dict[str, Any], field: str) -> None:
    found = a1111.map_body({"prompt": "x", **sent}, Kind.TEXT2IMG, registry, "").values
    with pytest.raises(InvalidRequest) as caught:
        resolve(registry, found)
    assert [problem.field for problem in rename_fields(caught.value, a1111.NAMES).problems][:1] == [field]


def test_settings_of_kandinskys_prior(registry: ModelRegistry) -> None:
    sent = {
        "prompt": "x",
        "prior_steps": "5",
        "prior_cf_scale": 4,
        "negative_prior_prompt": "bad",
        "sampler": "p_sampler",
    }
    found = kandinsky.map_body(sent, Kind.TEXT2IMG, registry, "kandinsky")
    assert found.values["prior"] == {"steps": 5, "guidance_scale": 4.0, "negative_prompt": "bad"}
    assert (found.values["negative_prompt"], found.values["scheduler"], found.warnings) == (None, "DDPM", [])
    assert (
        kandinsky.map_body({**sent, "prior_steps": 7}, Kind.TEXT2IMG, registry, "kandinsky").values["prior"]["steps"]
        == 7
    )
    empty = {"prompt": "x", "prior_steps": "", "negative_prior_prompt": ""}
    request, _ = resolve(registry, kandinsky.map_body(empty, Kind.TEXT2IMG, registry, "kandinsky").values)
    assert request.prior is None
    # For a model without a prior, the result is the same as without them.
    other = kandinsky.map_body(sent, Kind.TEXT2IMG, registry, "mixer")
    assert ("prior" in other.values, other.values["negative_prompt"], other.warnings) == (False, "bad", [])


@pytest.mark.parametrize(
    ("sampler", "scheduler", "warns"),
    [("ddim_sampler", "DDIM", False), ("plms_sampler", None, True), ("other", None, True), ("", None, False)],
)
def test_kandinskys_samplers(registry: ModelRegistry, sampler: str, scheduler: str | None, warns: bool) -> None:
    found = kandinsky.map_body({"prompt": "x", "sampler": sampler}, Kind.TEXT2IMG, registry, "kandinsky")
    assert (found.values["scheduler"], bool(found.warnings)) == (scheduler, warns)


@pytest.mark.parametrize("named", ["mixer", "mixer.safetensors [0123456789]", "mixer [abc]"])
def test_the_model_may_be_named(registry: ModelRegistry, named: str) -> None:
    assert values(registry, override_settings={"sd_model_checkpoint": named})["model"] == "mixer"
    with pytest.raises(InvalidRequest, match="override_settings"):
        values(registry, override_settings={"sd_model_checkpoint": "nothing"})
    with pytest.raises(InvalidRequest, match="no model here has img2img"):
        a1111.map_body({"init_images": [picture()]}, Kind.IMG2IMG, registry, "mixer")


def test_a_mix_in_our_words(registry: ModelRegistry) -> None:
    sent = {"images_texts": ["cat", "QQ==", None, ""], "weights": [0.2, 0.3, 0.4, 0.1], "negative_prior_prompt": "bad"}
    found = kandinsky.map_body(sent, Kind.MIX2IMG, registry, "").values
    assert found["model"] == "mixer"
    assert found["mix"] == [{"text": "cat", "weight": 0.2}, {"image": "QQ==", "weight": 0.3}]
    assert found["negative_prompt"] == "bad"
    for wrong in ({"weights": [1]}, {"images_texts": ["a"]}, {"images_texts": [None] * 4}):
        with pytest.raises(InvalidRequest, match=r"weights|images_texts"):
            kandinsky.map_body({**sent, **wrong}, Kind.MIX2IMG, registry, "")
    with pytest.raises(InvalidRequest, match="prompt"):
        kandinsky.map_body({}, Kind.TEXT2IMG, registry, "")


def test_errors_keep_their_class_and_name_their_fields() -> None:
    error = rename_fields(ModerationRefused(Problem("guidance_scale", "no")), a1111.NAMES)
    assert isinstance(error, ModerationRefused)
    assert error.message == "`cfg_scale`: no"


@pytest.fixture
def far(tmp_path: Path) -> ModelRegistry:
    """Models that only back ends have."""
    path = tmp_path / "models.toml"
    kinds = '["text2img", "img2img", "inpaint"]'
    path.write_text(
        f'[far]\nexecutor = "remote"\nkinds = {kinds}\n[mixer]\nexecutor = "remote"\nkinds = ["text2img"]\n'
    )
    return ModelRegistry.from_file(path)


def test_a_back_end_gets_what_its_sender_wrote(far: ModelRegistry) -> None:
    rest = {"sampler_name": "Own", "styles": ["a"], "alwayson_scripts": {"x": {"args": [None]}}, "eta": None,
            "override_settings": {"sd_model_checkpoint": "theirs.safetensors [0123456789]"}}  # fmt: skip
    body = {"prompt": "<lora:x:1> x", "seed": -1, "steps": 9, "save_images": True, "init_images": None, **rest}
    found = a1111.map_body(body, Kind.TEXT2IMG, far, "far")
    assert found.values["passthrough"] == rest
    assert (found.values["prompt"], found.values["seed"], found.values["steps"]) == ("<lora:x:1> x", None, 9)
    assert found.warnings == []
    mixed = {"prompt": "x", "prior_steps": "5", "sampler": "ddim_sampler", "negative_prior_prompt": "y"}
    values = kandinsky.map_body(mixed, Kind.TEXT2IMG, far, "mixer").values
    assert values.pop("passthrough") == {name: mixed[name] for name in mixed if name != "prompt"}
    assert {name for name, value in values.items() if value is not None} == {"model", "kind", "prompt"}


@pytest.mark.parametrize("value", ["x" * 70_000, float("nan"), "half \ud83d"])
def test_what_cannot_be_passed_on_is_refused(far: ModelRegistry, value: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        a1111.map_body({"prompt": "x", "eta": 1, "script_args": [value]}, Kind.TEXT2IMG, far, "far")
    assert [problem.field for problem in refused.value.problems] == ["script_args"]


def test_a_misspelt_field_has_a_warning_and_real_ones_have_none(registry: ModelRegistry) -> None:
    body = {"prompt": "x", "stepz": 3, "negative-prompt": "y", "use_async": False, "sampler_index": "Euler"}
    warnings = a1111.map_body(body, Kind.TEXT2IMG, registry, "").warnings
    assert "stepz was ignored; did you mean steps?" in warnings
    assert "negative-prompt was ignored; did you mean negative_prompt?" in warnings
    real = dict.fromkeys((*bodies.TXT2IMG, *bodies.IMG2IMG, "use_async"))
    assert a1111.map_body({**real, "prompt": "x"}, Kind.TEXT2IMG, registry, "").warnings == []
