"""Controls in the models file, and what is checked of a request before anything is queued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import BadSetting, InvalidRequest
from jobs.models import file as models_file
from jobs.models.registry import ModelRegistry
from jobs.requests.generation import GenerationRequest, resolve
from jobs.requests.inputs import Measured

TABLE = """
[sd]
source = "stabilityai/sd"
kinds = ["text2img", "img2img", "text2video"]
limits = {{ controls = [1, 2] }}
{controls}
[plain]
source = "stabilityai/plain"
kinds = ["text2img"]
"""
CONTROLS = """
[sd.controls.canny]
type = "controlnet"
source = "lllyasviel/canny"
variant = "fp16"
defaults = { scale = 0.8, end = 0.9 }
limits = { scale = [0.1, 1.5] }
[sd.controls.sketch]
type = "t2i-adapter"
source = "TencentARC/sketch"
[sd.controls.style]
type = "ip-adapter"
source = "h94/IP-Adapter"
subfolder = "models"
weight_name = "ip-adapter_sd15.safetensors"
kinds = ["text2img", "text2video"]
[sd.controls.other]
type = "ip-adapter"
source = "h94/IP-Adapter"
subfolder = "models"
weight_name = "other.safetensors"
image_encoder = "h94/IP-Adapter"
image_encoder_subfolder = "sdxl_models/image_encoder"
"""


@pytest.fixture
def models(tmp_path: Path) -> ModelRegistry:
    path = tmp_path / "models.toml"
    path.write_text(TABLE.format(controls=CONTROLS))
    return ModelRegistry.from_file(path)


def resolved(models: ModelRegistry, *controls: dict[str, Any], **fields: Any) -> GenerationRequest:
    values = {"model": "sd", "prompt": "a cat", "controls": list(controls), **fields}
    return resolve(models, values)[0]


def problems(models: ModelRegistry, *controls: dict[str, Any], **fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as refused:
        resolved(models, *controls, **fields)
    return [(problem.field, problem.rule) for problem in refused.value.problems]


def image(name: str, **values: Any) -> dict[str, Any]:
    return {"name": name, "image": "inputs/x.png", **values}


def test_defaults_are_filled_in(models: ModelRegistry) -> None:
    request = resolved(models, image("canny"), image("style", scale=0.3, start=0.2))
    assert request.controls == [
        {"name": "canny", "image": "inputs/x.png", "scale": 0.8, "start": 0.0, "end": 0.9},
        {"name": "style", "image": "inputs/x.png", "scale": 0.3, "start": 0.2, "end": 1.0},
    ]
    assert request.named_inputs == {"controls-0": "inputs/x.png", "controls-1": "inputs/x.png"}
    assert (request.inputs, request.version) == (("inputs/x.png",), 2)
    assert request.shown()["controls"][0] == {"name": "canny", "scale": 0.8, "start": 0.0, "end": 0.9}
    assert GenerationRequest.from_dict(request.to_dict()) == request
    assert resolved(models).controls is None


REFUSED = [
    ([image("cany")], "controls[0].name", "is not a control of model sd; did you mean canny?"),
    ([{"name": "canny"}], "controls[0].image", "is required: a control needs an image"),
    ([image("canny", scale=2)], "controls[0].scale", "must be between 0.1 and 1.5 for canny"),
    ([image("style", start=-0.1)], "controls[0].start", "must be between 0 and 1 for style"),
    ([image("canny", start=0.9)], "controls[0].end", "must be more than start"),
    ([image("canny", resize="zoom")], "controls[0].resize", "must be one of stretch, crop, pad"),
    ([image("style", resize="pad")], "controls[0].resize", "does not apply: an IP-Adapter takes images of any shape"),
    ([image("sketch", end=0.5)], "controls[0].end", "does not apply: a T2I-Adapter is used in every step"),
    ([image("canny")] * 3, "controls", "must have at most 2 entries for model sd"),
    (
        [image("canny"), image("sketch")],
        "controls[1].name",
        "cannot be combined with canny: one is a t2i-adapter, one a controlnet",
    ),
    (
        [image("style"), image("other")],
        "controls[1].name",
        "cannot be combined with style: their image encoders differ",
    ),
]


@pytest.mark.parametrize(("controls", "field", "rule"), REFUSED, ids=lambda value: str(value)[:40])
def test_each_rule(models: ModelRegistry, controls: list[dict[str, Any]], field: str, rule: str) -> None:
    assert problems(models, *controls) == [(field, rule)]


def test_kinds_of_controls(models: ModelRegistry) -> None:
    picture = {"kind": "img2img", "image": "inputs/y.png"}
    assert problems(models, image("style"), **picture) == [
        ("controls[0].name", "does not apply to img2img: style has text2img, text2video")
    ]
    assert problems(models, image("sketch"), **picture)[0][1].endswith("sketch has text2img")
    assert resolved(models, image("canny"), **picture).kind == "img2img"
    assert resolved(models, image("style"), kind="text2video").kind == "text2video"
    assert problems(models, image("canny"), kind="text2video")[0][0] == "controls[0].name"
    second = problems(models, image("style"), hires={"scale": 2})
    assert second == [
        ("controls[0].name", "cannot be combined with hires: the second pass is img2img, which style does not have")
    ]
    assert problems(models, image("canny"), model="plain") == [
        ("controls", "does not apply: model plain has no controls")
    ]


def test_an_image_that_is_laid_over_the_output_has_its_shape(models: ModelRegistry) -> None:
    def size(*sizes: Any, **fields: Any) -> tuple[int, int]:
        names = ("style", "canny") if len(sizes) == 2 else ("canny",)
        controls = [image(name, **fields.pop("more", {})) for name in names]
        values = {"model": "sd", "prompt": "a cat", "controls": controls, **fields}
        request, _ = resolve(models, values, None, Measured(control_sizes=sizes))
        return request.width, request.height

    assert size((400, 200)) == (720, 360)
    assert size((100, 100), (400, 200)) == (720, 360)  # the image of an IP-Adapter has any shape
    assert size((400, 200), width=256) == (256, 128)
    assert size((400, 200), width=256, height=256) == (256, 256)
    assert size((400, 200), more={"resize": "pad"}) == (512, 512)


def test_what_the_models_endpoint_says(models: ModelRegistry) -> None:
    described = models.get("sd").to_dict()
    assert described["controls"][0] == {
        "name": "canny", "type": "controlnet", "description": "", "kinds": ["text2img", "img2img"],
        "defaults": {"scale": 0.8, "start": 0.0, "end": 0.9}, "limits": {"scale": {"min": 0.1, "max": 1.5}},
    }  # fmt: skip
    assert described["limits"]["controls"] == {"min": 1, "max": 2}
    assert "lllyasviel" not in str(described)
    plain = models.get("plain").to_dict()
    assert (plain["controls"], "controls" in plain["limits"]) == ([], False)


def test_the_image_encoder_is_beside_the_file_unless_the_table_says_otherwise(models: ModelRegistry) -> None:
    controls = models.get("sd").controls
    assert controls["style"].encoder == ("h94/IP-Adapter", "models/image_encoder")
    assert controls["other"].encoder == ("h94/IP-Adapter", "sdxl_models/image_encoder")


BAD = [
    ('type = "lora"\nsource = "a/b"', "controls.a.type: must be one of controlnet, t2i-adapter, ip-adapter"),
    ('type = "controlnet"', "controls.a.source: must be a string"),
    ('type = "controlnet"\nsource = "a/b"\nweight_name = "x.safetensors"', "applies to type = 'ip-adapter' only"),
    ('type = "ip-adapter"\nsource = "a/b"\nmode = 1\nweight_name = "x.safetensors"', "type = 'controlnet' only"),
    ('type = "ip-adapter"\nsource = "a/b"\nweight_name = "x.bin"', "must name a .safetensors file"),
    ('type = "controlnet"\nsource = "a/b"\ndefaults = { scale = 3 }', "controls.a.defaults.scale: must be between 0"),
    ('type = "controlnet"\nsource = "a/b"\ndefaults = { start = 1 }', "defaults.end: must be more than start"),
    ('type = "controlnet"\nsource = "a/b"\nlimits = { scale = [0, 0.5] }', "defaults.scale: is required"),
    ('type = "controlnet"\nsource = "a/b"\nkinds = ["inpaint"]', "inpaint is not one of this model's"),
    ('type = "controlnet"\nsource = "a/b"\nscale = 1', "unknown key"),
]


@pytest.mark.parametrize(("table", "message"), BAD)
def test_a_wrong_table_is_refused_at_start(tmp_path: Path, table: str, message: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(TABLE.format(controls=f"[sd.controls.a]\n{table}\n"))
    with pytest.raises(BadSetting) as refused:
        models_file.read(path)
    assert message in str(refused.value)


def test_models_that_have_no_controls(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    control = '[a.controls.x]\ntype = "controlnet"\nsource = "a/b"\n'
    for keys, message in (
        ('kinds = ["text2img"]\nprior = "a/p"', "does not apply to a model with a prior"),
        ('kinds = ["text2img"]\nloader = "modular"', "does not apply to loader = modular"),
        ('kinds = ["text2video"]', "controls.x.kinds: is required: the model has none of text2img, img2img, inpaint"),
    ):
        path.write_text(f'[a]\nsource = "a/b"\n{keys}\n{control}')
        with pytest.raises(BadSetting, match=message):
            models_file.read(path)
