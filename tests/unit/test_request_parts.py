"""Requests that a model cannot fulfil are refused by field and rule; others are completed with every default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import BadSetting, InvalidRequest
from jobs.models import loras
from jobs.models.registry import ModelRegistry
from jobs.requests.generation import GenerationRequest
from tests.support.resolving import resolve

MODELS = """
[plain]
source = "hub/plain"
kinds = ["text2img", "img2img"]

[rich]
source = "hub/rich"
kinds = ["text2img", "img2img", "inpaint"]
scheduler = "k_euler_a"
schedulers = ["dpmpp_2m_karras", "DDIM"]
loras = "loras"
default_loras = { grain = 0.5 }
limits = { num_images = [1, 2] }

[weighted]
source = "hub/weighted"
kinds = ["text2img"]
loras = "loras"
prompt_weighting = true

[mixing]
source = "hub/decoder"
prior = "hub/prior"
kinds = ["mix2img"]

[video]
source = "hub/video"
kinds = ["text2video"]
"""


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    (tmp_path / "loras").mkdir()
    (tmp_path / "outside").mkdir()
    for name in ("loras/grain", "loras/glow.v2", "outside/secret", "loras/styles/ink", "loras/.hidden/dust"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
    (tmp_path / "loras/old.ckpt").write_bytes(b"pickle")
    (tmp_path / "loras/leak.safetensors").symlink_to(tmp_path / "outside/secret.safetensors")
    (tmp_path / "loras/same.safetensors").symlink_to("grain.safetensors")
    (tmp_path / "models.toml").write_text(MODELS)
    return ModelRegistry.from_file(tmp_path / "models.toml")


KEY = "inputs/x.png"
MASKED = {"model": "rich", "image": KEY, "mask": "inputs/m.png"}


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"model": "plain", "scheduler": "DDIM"}, "scheduler", "model plain only has its own scheduler"),
        ({"model": "rich", "scheduler": "Heun"}, "scheduler", "must be one of DPM++ 2M Karras, DDIM for model rich"),
        ({"model": "rich", "scheduler": "magic"}, "scheduler", "is not a known scheduler"),
        ({"model": "plain", "loras": [{"name": "grain"}]}, "loras[0].name", "model plain has no LoRAs"),
        ({"model": "rich", "loras": [{"name": "dust"}]}, "loras[0].name", "known: glow.v2, grain, same, styles/ink"),
        ({"model": "rich", "loras": [{"name": "old"}]}, "loras[0].name", "is not a LoRA of model rich"),
        ({"model": "rich", "loras": [{"name": "old.ckpt"}]}, "loras[0].name", "is not a LoRA of model rich"),
        ({"model": "rich", "loras": [{"name": "leak"}]}, "loras[0].name", "is not a LoRA of model rich"),
        ({"model": "rich", "loras": [{"name": "../outside/secret"}]}, "loras[0].name", "is not a LoRA of model rich"),
        ({"model": "rich", "loras": [{"name": "styles/../grain"}]}, "loras[0].name", "is not a LoRA of model rich"),
        ({"model": "rich", "loras": [{"name": ".hidden/dust"}]}, "loras[0].name", "is not a LoRA of model rich"),
        ({"model": "rich", "loras": [{"name": "ink"}, {"name": "styles/ink"}]}, "loras[1].name", "is named twice"),
        (
            {"model": "rich", "loras": [{"name": "grain", "text_encoder_weight": 9}]},
            "loras[0].text_encoder_weight", "must be between -2 and 2",
        ),
        ({"model": "rich", "loras": [{"name": "x" * 5000}]}, "loras[0].name", "is not a LoRA of model rich"),
        ({"model": "rich", "loras": [{"name": "grain"}, {"name": "grain"}]}, "loras[1].name", "is named twice"),
        ({"model": "rich", "loras": [{"name": "grain", "weight": 9}]}, "loras[0].weight", "must be between -2 and 2"),
        ({"model": "rich", "num_images": 3}, "num_images", "between 1 and 2 for model rich"),
        ({"model": "plain", "num_images": 5}, "num_images", "between 1 and 4"),
        ({"model": "video", "num_images": 2}, "num_images", "does not apply to text2video"),
        ({"model": "rich", "kind": "inpaint", "image": KEY}, "mask", "inpaint needs a mask"),
        ({"model": "rich", "kind": "inpaint", "mask": KEY}, "image", "inpaint needs an input image"),
        ({"model": "rich", "mask": KEY, "image": KEY, "kind": "img2img"}, "mask", "is not an input of img2img"),
        ({"model": "plain", "mask": KEY, "image": KEY}, "mask", "model plain has text2img, img2img"),
        ({"model": "plain", "resize": "crop"}, "resize", "text2img has no input image"),
        ({"model": "plain", "image": KEY, "resize": "cover"}, "resize", "must be one of stretch, crop, pad"),
        ({"model": "plain", "image": KEY, "inpaint": {"blur_px": 4}}, "inpaint", "img2img has no mask"),
        ({**MASKED, "inpaint": {"area": "all"}}, "inpaint.area", "must be one of whole, masked"),
        ({**MASKED, "inpaint": {"fill": "red"}}, "inpaint.fill", "must be one of original, blurred, noise, nothing"),
        ({**MASKED, "inpaint": {"padding_px": 513}}, "inpaint.padding_px", "must be between 0 and 512"),
        ({**MASKED, "inpaint": {"padding_px": -1}}, "inpaint.padding_px", "must be between 0 and 512"),
        ({**MASKED, "inpaint": {"blur_px": 256.5}}, "inpaint.blur_px", "must be between 0 and 256"),
        ({"model": "mixing"}, "mix", "needs a mix"),
        ({"model": "mixing", "mix": []}, "mix", "needs a mix"),
        ({"model": "mixing", "mix": [{"weight": 1}]}, "mix[0]", "either a text or an image"),
        ({"model": "mixing", "mix": [{"text": "a", "image": KEY}]}, "mix[0]", "either a text or an image"),
        ({"model": "mixing", "mix": [{"text": "a"}, {"text": "b", "weight": 5}]}, "mix[1].weight", "between -4 and 4"),
        ({"model": "mixing", "mix": [{"text": "a"}], "prompt": "b"}, "prompt", "put texts into mix"),
        ({"model": "plain", "prompt": "x", "mix": [{"text": "a"}]}, "mix", "is not an input of text2img"),
    ],
)
def test_what_a_model_cannot_do(registry: ModelRegistry, fields: dict[str, Any], field: str, rule: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(registry, fields)
    [problem] = caught.value.problems
    assert problem.field == field
    assert rule in problem.rule


def test_the_models_own_choices_are_written_down(registry: ModelRegistry) -> None:
    request, _ = resolve(registry, {"model": "rich"})
    assert request.scheduler == "Euler a"
    assert request.loras == [{"name": "grain", "weight": 0.5}]


def test_a_request_may_ask_for_others_or_none(registry: ModelRegistry) -> None:
    wanted = [{"name": "glow.v2.safetensors"}, {"name": "grain"}, {"name": "same", "weight": -1}]
    request, _ = resolve(registry, {"model": "rich", "scheduler": "DPM++ 2M karras", "loras": wanted})
    assert request.scheduler == "DPM++ 2M Karras"
    weights = {lora["name"]: lora["weight"] for lora in request.loras or ()}
    assert weights == {"glow.v2": 1.0, "grain": 0.5, "same": -1.0}
    assert resolve(registry, {"model": "rich", "loras": []})[0].loras is None


def test_a_mask_alone_decides_the_kind_and_paints_all_of_it_anew(registry: ModelRegistry) -> None:
    request, _ = resolve(registry, {"image": KEY, "mask": "inputs/m.png"})
    assert (request.model, request.kind, request.strength) == ("rich", "inpaint", 1.0)
    assert request.inputs == (KEY, "inputs/m.png")


def test_a_mix_decides_the_kind_and_its_keys_are_not_shown(registry: ModelRegistry) -> None:
    mix = [{"text": "cat", "image": None}, {"image": KEY, "weight": 0.3}]
    request, _ = resolve(registry, {"mix": mix})
    assert (request.model, request.kind, request.inputs) == ("mixing", "mix2img", (KEY,))
    assert request.mix == [{"text": "cat", "weight": 1.0}, {"image": KEY, "weight": 0.3}]
    assert request.shown()["mix"] == [{"text": "cat", "weight": 1.0}, {"weight": 0.3}]
    assert GenerationRequest.from_dict(request.to_dict()) == request


def test_how_a_mask_is_used_is_written_down_where_it_differs(registry: ModelRegistry) -> None:
    usual = {"area": "whole", "padding_px": 0, "blur_px": 0, "fill": "original"}
    for nothing in ({}, usual, dict.fromkeys(usual)):
        request, _ = resolve(registry, {**MASKED, "resize": "stretch", "inpaint": nothing})
        assert not request.to_dict().keys() & {"resize", "inpaint"}
        assert resolve(registry, {"model": "video", "resize": "stretch", "inpaint": nothing})
    asked = {**usual, "area": "masked", "blur_px": 2.5}
    request, _ = resolve(registry, {**MASKED, "resize": "pad", "inpaint": asked})
    assert request.shown()["inpaint"] == {"area": "masked", "blur_px": 2.5}
    assert request.shown()["resize"] == "pad"
    again, _ = resolve(registry, {**request.shown(), "image": KEY, "mask": "inputs/m.png"})
    assert again == request == GenerationRequest.from_dict(request.to_dict())


@pytest.mark.parametrize("model", ["plain", "rich", "video"])
def test_a_complete_request_can_be_sent_again(registry: ModelRegistry, model: str) -> None:
    request, _ = resolve(registry, {"model": model})
    assert resolve(registry, request.shown()) == (request, [])


def test_a_plain_request_stays_small_and_an_old_record_can_be_read(registry: ModelRegistry) -> None:
    request, _ = resolve(registry, {"model": "plain"})
    values = request.to_dict()
    assert not values.keys() & {"num_images", "scheduler", "loras", "mask", "mix", "image", "strength"}
    assert GenerationRequest.from_dict(values) == request


def test_several_images_are_as_much_more_work(registry: ModelRegistry) -> None:
    one, two = (resolve(registry, {"model": "rich", "num_images": number})[0] for number in (1, 2))
    assert two.work == 2 * one.work


def test_the_list_of_models_says_what_is_offered(registry: ModelRegistry) -> None:
    rich, plain = registry.get("rich").to_dict(), registry.get("plain").to_dict()
    assert rich["schedulers"] == ["DPM++ 2M Karras", "DDIM"]
    assert rich["loras"] == ["glow.v2", "grain", "same", "styles/ink"]
    assert rich["defaults"]["scheduler"] == "Euler a"
    assert rich["defaults"]["loras"] == [{"name": "grain", "weight": 0.5}]
    assert rich["limits"]["num_images"] == {"min": 1, "max": 2}
    assert (plain["schedulers"], plain["loras"], plain["defaults"]["scheduler"]) == ([], [], None)
    assert "lora_weight" not in plain["limits"]
    assert "num_images" not in registry.get("video").to_dict()["limits"]


def test_a_lora_that_appears_is_offered_at_once(registry: ModelRegistry, tmp_path: Path) -> None:
    (tmp_path / "loras/new.safetensors").write_bytes(b"weights")
    assert resolve(registry, {"model": "rich", "loras": [{"name": "new"}]})[0].loras
    assert loras.path_of(tmp_path / "loras", "new") == (tmp_path / "loras/new.safetensors").resolve()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('scheduler = "magic"', ":4: [m] scheduler: unknown scheduler"),
        ('schedulers = "all"', ":4: [m] schedulers: must be one of diffusion, flow, or a list"),
        ('schedulers = [\n"DDIM",\n"magic"]', ":4: [m] schedulers: unknown scheduler"),
        (
            'loras = "loras"\ndefault_loras = { dust = 1 }',
            ":5: [m] default_loras.dust: loras has no .safetensors file of this name",
        ),
        ('loras = "loras"\ndefault_loras = { grain = 3 }', ":5: [m] default_loras.grain: must be between -2 and 2"),
        ('loras = "loras"\n[m.default_loras]\ngrain = "much"', ":6: [m] default_loras.grain: must be a number"),
        ("default_loras = { grain = 1 }", ":4: [m] default_loras: needs the key loras"),
        ('fields = { taste = "x" }', ":4: [m] fields.taste: unknown key"),
        ("[m.fields]\nsteps = 3", ":5: [m] fields.steps: must be the name"),
        ("[m.fields.img2img]\nsteps = 3", ":5: [m] fields.img2img.steps: must be the name"),
        ('prior = ""', ":4: [m] prior: must not be empty"),
        ("prior_arguments = 3", ":4: [m] prior_arguments: must be a table"),
        ("defaults = { num_images = 9 }", ":4: [m] defaults.num_images: must be between 1 and 4"),
        ("frames_step = true", ":4: [m] frames_step: must be an integer"),
        ("typo = 1", ":4: [m] typo: unknown key"),
    ],
)
def test_a_mistake_names_line_and_key(registry: ModelRegistry, tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f'[m]\nsource = "hub/m"\nkinds = ["text2img", "img2img"]\n{line}\n')
    with pytest.raises(BadSetting) as caught:
        ModelRegistry.from_file(path)
    assert f"{path}{message}" in caught.value.message


def test_arguments_and_fields_may_differ_by_kind(tmp_path: Path) -> None:
    path = tmp_path / "kinds.toml"
    path.write_text(
        """
[m]
source = "hub/m"
kinds = ["text2img", "img2img"]
[m.arguments]
clip_skip = 1
img2img = { clip_skip = 2 }
[m.fields]
steps = "num_sampling_steps"
img2img = { steps = "" }
"""
    )
    spec = ModelRegistry.from_file(path).get("m")
    by_kind = {kind: (spec.arguments_of(kind), spec.fields_of(kind)) for kind in spec.kinds}
    assert by_kind == {
        "text2img": ({"clip_skip": 1}, {"steps": "num_sampling_steps"}),
        "img2img": ({"clip_skip": 2}, {"steps": ""}),
    }


def test_tags_are_loras_where_prompts_have_weights(registry: ModelRegistry) -> None:
    prompt = "a (cat:1.2) <lora:grain:0.7>"
    request, warnings = resolve(registry, {"model": "weighted", "prompt": prompt})
    assert (request.prompt, request.loras) == ("a (cat:1.2) ", [{"name": "grain", "weight": 0.7}])
    assert warnings == []
    request, warnings = resolve(registry, {"model": "weighted", "prompt": "a <lora:none:1> cat"})
    assert request.loras is None
    assert warnings == ["prompt: model weighted does not have the LoRA none, which was left out"]
    sent = {"model": "weighted", "prompt": prompt, "loras": [{"name": "glow.v2", "weight": 1}]}
    assert [lora["name"] for lora in resolve(registry, sent)[0].loras or ()] == ["glow.v2", "grain"]
    request, warnings = resolve(registry, {"model": "rich", "prompt": prompt})
    assert request.prompt == prompt
    assert "is read as text" in warnings[0]
