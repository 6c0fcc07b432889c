"""The size of an output: of the input image's shape, and of models that clamp; the models of ``TEST_MODE``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.errors import InvalidRequest
from jobs.models.backends import registry_of
from jobs.models.registry import ModelRegistry
from jobs.requests.generation import GenerationRequest
from jobs.settings import PROJECT_ROOT, Settings
from tests.support.resolving import resolve

MODELS = """
[video]
source = "hub/video"
kinds = ["text2video", "img2video"]
size_multiple_px = 16
defaults = { width = 832, height = 480 }
limits = { width = [256, 1280], height = [256, 1280] }

[image]
source = "hub/image"
kinds = ["text2img", "img2img", "inpaint"]

[small]
source = "hub/small"
kinds = ["text2img", "img2img"]
clamp = true
defaults = { width = 128, height = 128 }
limits = { steps = [1, 100], width = [64, 256], height = [64, 256] }

[drawn]
executor = "drawing"
kinds = ["text2img"]
schedulers = "diffusion"
limits = { steps = [1, 100], width = [64, 128], height = [64, 128] }

[drawn-video]
executor = "drawing"
kinds = ["text2video"]
size_multiple_px = 32
frames_step = 4
limits = { frames = [9, 9] }

[far]
executor = "remote"
kinds = ["text2img"]
"""
KEY = "inputs/x.png"


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    (tmp_path / "models.toml").write_text(MODELS)
    return ModelRegistry.from_file(tmp_path / "models.toml")


def resolved(registry: ModelRegistry, image_size: tuple[int, int] | None = None, **fields: Any) -> GenerationRequest:
    return resolve(registry, fields, image_size=image_size)[0]


def size(request: GenerationRequest) -> tuple[int, int, str | None]:
    return request.width, request.height, request.resize


@pytest.mark.parametrize(
    ("fields", "image_size", "expected"),
    [
        ({}, (720, 1280), (480, 848, "crop")),
        ({}, (1280, 720), (848, 480, "crop")),
        ({}, (1000, 1000), (624, 624, None)),
        ({"width": 480}, (720, 1280), (480, 848, "crop")),
        ({"height": 1280}, (720, 1280), (720, 1280, None)),
        # A size, or a way to fit the image, means what it says.
        ({"width": 832, "height": 480}, (720, 1280), (832, 480, None)),
        ({"width": 832, "height": 480, "resize": "pad"}, (720, 1280), (832, 480, "pad")),
        ({"resize": "stretch"}, (720, 1280), (832, 480, None)),
        ({"resize": "crop"}, (720, 1280), (832, 480, "crop")),
        ({"resize": "crop", "height": 640}, (720, 1280), (832, 640, "crop")),
    ],
)
def test_a_video_has_the_shape_of_its_picture(
    registry: ModelRegistry, fields: dict[str, Any], image_size: tuple[int, int], expected: tuple[int, int, str | None]
) -> None:
    request, warnings = resolve(registry, {"model": "video", "image": KEY, **fields}, image_size=image_size)
    assert size(request) == expected
    assert warnings == []
    again = {**request.shown(), "image": KEY}
    assert size(resolved(registry, image_size, **again)) == expected


def test_images_and_masks_have_the_shape_too_but_not_a_region(registry: ModelRegistry) -> None:
    fields = {"model": "image", "image": KEY}
    assert size(resolved(registry, (1000, 2000), **fields)) == (360, 720, None)
    fields["mask"] = "inputs/m.png"
    assert size(resolved(registry, (1000, 2000), **fields)) == (360, 720, None)
    region = resolved(registry, (1000, 2000), **fields, inpaint={"area": "masked"})
    assert size(region) == (512, 512, None)


def test_without_a_picture_the_default_stays(registry: ModelRegistry) -> None:
    assert size(resolved(registry, model="video")) == (832, 480, None)
    assert size(resolved(registry, model="video", width=640)) == (640, 480, None)
    assert size(resolved(registry, model="image", image=KEY)) == (512, 512, None)


@pytest.mark.parametrize(
    ("image_size", "expected", "share"), [((4000, 100), (1280, 256), "88%"), ((100, 4000), (256, 1280), "88%")]
)
def test_a_shape_beyond_the_limits_is_cropped_with_a_warning(
    registry: ModelRegistry, image_size: tuple[int, int], expected: tuple[int, int], share: str
) -> None:
    request, [warning] = resolve(registry, {"model": "video", "image": KEY}, image_size=image_size)
    assert size(request) == (*expected, "crop")
    assert warning.startswith(f"{share} of the image ({image_size[0]} × {image_size[1]}) was cut off")


def test_a_side_outside_of_the_limits_is_refused_beside_a_picture(registry: ModelRegistry) -> None:
    with pytest.raises(InvalidRequest, match="`width` must be between 256 and 1280 for model video"):
        resolved(registry, (720, 1280), model="video", image=KEY, width=8)


@pytest.mark.parametrize(
    ("asked", "used"),
    [((512, 512), (256, 256)), ((512, 768), (168, 256)), ((832, 480), (256, 144)), ((16, 16), (64, 64)),
     ((4096, 16), (256, 64)), ((10**30, 10**30), (256, 256)), ((200, 512), (104, 256))],
)  # fmt: skip
def test_a_size_is_clamped_in_its_shape(
    registry: ModelRegistry, asked: tuple[int, int], used: tuple[int, int]
) -> None:  # fmt: skip
    fields = {"model": "small", "width": asked[0], "height": asked[1]}
    request, [warning] = resolve(registry, fields)
    assert size(request) == (*used, None)
    assert warning == (
        f"{asked[0]} × {asked[1]} was changed to {used[0]} × {used[1]}: "
        "width must be between 64 and 256 and height between 64 and 256 for model small"
    )


def test_other_numbers_are_clamped_but_not_those_that_mean_nothing(registry: ModelRegistry) -> None:
    request, warnings = resolve(registry, {"model": "small", "steps": 500, "guidance_scale": 70.5})
    assert (request.steps, request.guidance_scale) == (100, 50)
    assert sorted(warnings) == [
        "guidance_scale 70.5 was changed to 50: it must be between 0 and 50 for model small",
        "steps 500 was changed to 100: it must be between 1 and 100 for model small",
    ]
    for field, value in (("steps", 0), ("width", -1), ("height", 0), ("guidance_scale", -1), ("num_images", 9)):
        with pytest.raises(InvalidRequest, match=f"`{field}` must be between"):
            resolved(registry, model="small", **{field: value})
    with pytest.raises(InvalidRequest, match="`strength` must be between 0 and 1"):
        resolved(registry, model="small", image=KEY, strength=1.5)


def test_a_second_pass_is_clamped(registry: ModelRegistry) -> None:
    fields = {"model": "small", "width": 512, "height": 512, "hires": {"scale": 2, "steps": 200}}
    request, warnings = resolve(registry, fields)
    assert request.hires
    assert (request.hires["width"], request.hires["height"], request.hires["steps"]) == (256, 256, 100)
    assert "hires.steps 200 was changed to 100: it must be between 1 and 100 for model small" in warnings
    assert "hires: 512 × 512 was changed to 256 × 256, which is within the limits of model small" in warnings
    request, _ = resolve(registry, {"model": "small", "height": 256, "hires": {"width": 768, "height": 768}})
    assert request.hires
    assert (request.hires["width"], request.hires["height"]) == (256, 256)


def test_a_picture_s_shape_within_small_limits(registry: ModelRegistry) -> None:
    assert size(resolved(registry, (720, 1280), model="small", image=KEY)) == (96, 168, "crop")
    request, [warning] = resolve(registry, {"model": "small", "image": KEY, "width": 1024}, image_size=(720, 1280))
    assert size(request) == (144, 256, None)
    assert warning.startswith("1024 × 1820 was changed to 144 × 256: width must be between 64 and 256")


def test_the_demo_models_take_the_defaults_of_clients() -> None:
    registry = ModelRegistry.from_file(PROJECT_ROOT / "models.toml")
    image = resolved(registry, model="demo-image", prompt="a red circle", width=512, height=768, steps=30)
    assert size(image) == (256, 384, None)
    fields = {"prompt": "x" * 548, "frames": 81, "width": 832, "height": 480}
    video, warnings = resolve(registry, {"model": "demo-video", **fields})
    assert (video.width, video.height, video.frames) == (128, 64, 9)
    assert "frames 81 was changed to 9: it must be 9 for model demo-video" in warnings


@pytest.mark.parametrize("model", ["demo-image", "demo-video"])
def test_the_demo_models_have_qualities(model: str) -> None:
    registry = ModelRegistry.from_file(PROJECT_ROOT / "models.toml")
    steps = [
        resolved(registry, model=model, prompt="a red circle", **fields).steps
        for fields in (
            {"quality": "draft"},
            {"quality": "standard"},
            {"quality": "high"},
            {"quality": "draft", "steps": 5},
        )
    ]
    assert steps == [8, 20, 40, 5]


def test_test_mode_has_every_kind_and_size(registry: ModelRegistry, tmp_path: Path) -> None:
    models = registry_of(Settings.of(models_file=tmp_path / "models.toml", test_mode=True))
    drawn, video, far = (models.get(name) for name in ("drawn", "drawn-video", "far"))
    assert drawn.kinds == ("text2img", "img2img", "inpaint", "mix2img", "edit")
    assert video.kinds == ("text2video", "img2video", "video2video")
    assert far == registry.get("far")
    assert size(resolved(models, model="drawn", width=510, height=770)) == (510, 770, None)
    assert resolved(models, model="drawn-video", frames=81, width=833, height=481).frames == 81
    assert resolved(models, model="drawn", mix=[{"text": "a"}, {"text": "b"}]).kind == "mix2img"
    # More than any server draws.
    assert size(resolved(models, model="drawn", width=10_000, height=5_000)) == (4096, 2048, None)
