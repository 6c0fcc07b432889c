"""Pictures with known marks: the place of each mark after crop, pad and stretch, and the region of a mask."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from workers.diffusion.inputs.fitting import Box, Size, fit, grown, widened


def quarters(width: int, height: int) -> Image.Image:
    """Return red and green over blue and white."""
    pixels = np.zeros((height, width, 3), np.uint8)
    half_way, middle = height // 2, width // 2
    pixels[:half_way, :middle, 0] = pixels[:half_way, middle:, 1] = pixels[half_way:, :middle, 2] = 255
    pixels[half_way:, middle:] = 255
    return Image.fromarray(pixels)


def test_a_picture_of_the_right_size_stays_as_it_is() -> None:
    picture = Image.effect_noise((24, 16), 90).convert("RGB")
    for how in ("stretch", "crop", "pad"):
        placed = fit((24, 16), (24, 16), how)
        assert np.array_equal(placed.apply(picture), picture)
        assert np.array_equal(placed.back(picture), picture)


@pytest.mark.parametrize(("source", "target"), [((64, 32), (32, 32)), ((32, 64), (32, 32)), ((64, 32), (16, 64))])
def test_crop_keeps_the_middle_and_its_shape(source: Size, target: Size) -> None:
    """Every pixel encodes its place: the column in red, the row in green."""
    width, height = source
    across, down = np.meshgrid(np.arange(width) * 2.0, np.arange(height) * 2.0)
    picture = Image.fromarray(np.dstack([across, down, 0 * down]).astype(np.uint8))
    cut = np.asarray(fit(source, target, "crop").apply(picture)).astype(float)
    scale = max(target[0] / width, target[1] / height)
    for axis, side in enumerate((width, height)):
        part = target[axis] / scale
        places = np.arange(target[axis]) / scale + (side - part) / 2 + 0.5 / scale - 0.5
        seen = cut[..., axis].mean(axis=axis) / 2
        middle = slice(2, -2)  # at the edge of a picture there is nothing to interpolate with
        assert np.abs(seen - places)[middle].max() < 0.6


def test_pad_keeps_all_of_it_and_the_border_has_the_edges_colours() -> None:
    padded = np.asarray(fit((40, 20), (40, 40), "pad").apply(quarters(40, 20)))
    assert np.array_equal(padded[10:30], quarters(40, 20))
    assert (padded[:10] == padded[10]).all()
    assert (padded[30:] == padded[29]).all()
    narrow = np.asarray(fit((20, 40), (30, 40), "pad").apply(quarters(20, 40)))
    assert np.array_equal(narrow[:, 5:25], quarters(20, 40))
    assert (narrow[:, :5] == narrow[:, 5:6]).all()
    mask = np.asarray(fit((40, 20), (40, 40), "pad").apply(Image.new("L", (40, 20), 255), black_border=True))
    assert (mask[10:30] == 255).all()
    assert (mask[:10] == 0).all()
    assert (mask[30:] == 0).all()


@pytest.mark.parametrize("how", ["stretch", "crop", "pad"])
def test_a_mask_of_another_size_lies_over_the_whole_image(how: str) -> None:
    """Its marks cover the same parts as those of a mask of the image's size."""
    large = Image.new("L", (80, 40), 0)
    large.paste(255, (40, 0, 80, 20))
    small = large.resize((20, 40), Image.Resampling.BOX)
    placed = fit((80, 40), (48, 48), how)
    masks = [np.asarray(placed.apply(mask, black_border=True)) > 127 for mask in (large, small)]
    assert (masks[0] != masks[1]).mean() < 0.03
    assert masks[0].any()


@pytest.mark.parametrize("how", ["stretch", "crop", "pad"])
@pytest.mark.parametrize(
    ("source", "target"), [((100_000, 1), (64, 64)), ((1, 100_000), (16, 512)), ((1, 1), (512, 16)), ((3, 7), (7, 3))]
)
def test_hostile_shapes_become_pictures_of_the_right_size(source: Size, target: Size, how: str) -> None:
    picture = Image.new("RGB", source, (200, 100, 50))
    fitted = fit(source, target, how).apply(picture)
    assert fitted.size == target
    assert fitted.getcolors() == [(target[0] * target[1], (200, 100, 50))]


def test_what_was_padded_comes_back_as_it_was() -> None:
    placed = fit((30, 20), (60, 60), "pad")
    back = placed.back(placed.apply(quarters(30, 20)))
    assert back.size == (30, 20)
    assert np.abs(np.asarray(back).astype(int) - np.asarray(quarters(30, 20))).mean() < 8


@pytest.mark.parametrize(
    ("box", "shape", "size", "wanted"),
    [
        ((10, 10, 20, 20), (64, 64), (100, 100), (10, 10, 20, 20)),
        ((10, 10, 20, 20), (128, 64), (100, 100), (5, 10, 25, 20)),  # twice as wide, around its centre
        ((10, 10, 20, 20), (64, 128), (100, 100), (10, 5, 20, 25)),
        ((0, 0, 10, 10), (128, 64), (100, 100), (0, 0, 20, 10)),  # moved so that it is inside the picture
        ((90, 95, 100, 100), (64, 64), (100, 100), (90, 90, 100, 100)),
        ((0, 40, 100, 50), (64, 64), (100, 60), (0, 0, 100, 60)),  # limited by the picture
        ((0, 0, 1, 1), (64, 64), (1, 1), (0, 0, 1, 1)),
    ],
)
def test_a_region_gets_the_shape_of_what_is_computed(box: Box, shape: Size, size: Size, wanted: Box) -> None:
    assert widened(box, shape, size) == wanted


def test_a_region_grows_as_far_as_the_picture_goes() -> None:
    assert grown((5, 6, 10, 11), 4, (12, 100)) == (1, 2, 12, 15)
    assert grown((5, 6, 10, 11), 9, (12, 100)) == (0, 0, 12, 20)
