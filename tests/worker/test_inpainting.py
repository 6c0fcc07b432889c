"""Real pipelines paint under a mask: kept pixels are exact; regions, soft borders and fills."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from jobs.errors import RunCancelled
from jobs.requests.generation import GenerationRequest
from jobs.requests.inpaint import AREAS, FILLS
from jobs.requests.pictures.resizes import RESIZES
from jobs.settings import Settings
from tests.support.computing import Worker
from tests.support.pictures import picture
from tests.support.store_driver import StoreDriver
from workers.diffusion.inputs.fitting import fit

if TYPE_CHECKING:
    from workers.diffusion.inputs.inpainting import Painting

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)

#: Size of the image, pixels; it belongs to no model.
SIZE = (90, 60)
#: The white part of the mask: it begins at rows and columns inside of latents.
HOLE = (slice(21, 43), slice(35, 61))


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


def image() -> Image.Image:
    """Return noise: no pixel is reproduced by chance."""
    return picture(size=SIZE)


def hole(size: tuple[int, int] = SIZE) -> Image.Image:
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    pixels[HOLE] = 255
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def paint(worker: Worker, model: str = "sd", mask: Image.Image | None = None, **fields: Any) -> np.ndarray:
    """Paint on :func:`image` under a mask, by default :func:`hole`; return (images, height, width, 3)."""
    keys = {"image": worker.stored(image()), "mask": worker.stored(mask or hole())}
    return worker.compute(model, kind="inpaint", **{"strength": 1.0, **keys, **fields})[:, 0]


def prepared(mask: Image.Image | None = None, size: tuple[int, int] = SIZE, **fields: Any) -> Painting:
    """Return the inputs and the composition for a pipeline with latents of 8 pixels."""
    from workers.diffusion.inputs.inpainting import Painting

    request: dict[str, Any] = {"prompt": "", "negative_prompt": "", "seed": 1, "steps": 1, "guidance_scale": 1.0}
    request |= {"model": "m", "kind": "inpaint", "width": size[0], "height": size[1], **fields}
    return Painting(image(), mask or hole(), GenerationRequest.from_dict(request), 8)


MODELS = ["sd", "sd-fill", "sdxl", "flux", "flux-fill", "kandinsky-inpaint"]


@pytest.mark.parametrize("model", MODELS)
def test_outside_the_mask_are_the_very_pixels_of_the_image(worker: Worker, model: str) -> None:
    size = {"width": 64, "height": 64}
    before = np.asarray(image().resize((64, 64), Image.Resampling.LANCZOS))
    white = np.asarray(hole().resize((64, 64), Image.Resampling.LANCZOS)) >= 128
    after = paint(worker, model, **size)[0]
    assert np.array_equal(after[~white], before[~white])
    assert np.abs(after[white].astype(int) - before[white]).mean() > 10


@pytest.mark.parametrize("model", MODELS)
def test_of_area_masked_the_output_has_the_images_size_and_only_the_hole_is_new(worker: Worker, model: str) -> None:
    after = paint(worker, model, width=64, height=64, inpaint={"area": "masked", "padding_px": 5})
    assert after.shape == (1, SIZE[1], SIZE[0], 3)
    changed = (after[0] != np.asarray(image())).any(axis=-1)
    assert changed[HOLE].mean() > 0.9
    changed[HOLE] = False
    assert not changed.any()


def test_the_region_is_computed_in_full_size(worker: Worker) -> None:
    """The pipeline receives the hole and its surroundings, not the image."""
    region = prepared(size=(64, 64), inpaint={"area": "masked", "padding_px": 5}).of(1)
    seen, mask = np.asarray(region["image"]).astype(int), np.asarray(region["mask"]) > 0
    assert seen.shape == (64, 64, 3)
    left, top, right, bottom = 30, 14, 66, 50  # 5 pixels around the hole, as high as wide
    cut = image().crop((left, top, right, bottom)).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.abs(seen - np.asarray(cut)).max() <= 1
    assert mask.mean() == pytest.approx(22 * 26 / 36**2, abs=0.2)


def test_a_region_at_the_images_end_is_moved_into_it(worker: Worker) -> None:
    corner = Image.new("L", SIZE, 0)
    corner.paste(255, (84, 57, 90, 60))
    after = paint(worker, mask=corner, inpaint={"area": "masked", "padding_px": 1})[0]
    changed = (after != np.asarray(image())).any(axis=-1)
    assert changed[57:, 84:].mean() > 0.9
    assert changed.sum() <= 3 * 6


def test_a_mask_of_another_size_lies_over_the_whole_image(worker: Worker) -> None:
    usual = paint(worker, inpaint={"area": "masked"})
    for size in ((SIZE[0] * 3, SIZE[1] * 3), (SIZE[0] * 2, SIZE[1])):
        large = paint(worker, mask=hole(size), inpaint={"area": "masked"})
        assert (usual != large).mean() < 0.02


def test_a_mask_counts_from_half_way_grey_on(worker: Worker) -> None:
    grey = hole().point([127] * 255 + [128])
    assert np.array_equal(paint(worker, mask=grey), paint(worker))


@pytest.mark.parametrize("area", ["whole", "masked"])
def test_a_mask_without_white_keeps_everything(worker: Worker, area: str) -> None:
    after = paint(worker, mask=Image.new("L", SIZE, 0), inpaint={"area": area, "blur_px": 3})
    expected = image() if area == "masked" else image().resize((32, 32), Image.Resampling.LANCZOS)
    assert np.array_equal(after[0], expected)


def test_no_latent_that_is_white_in_part_keeps_what_is_to_go() -> None:
    """Pipelines read only the first pixel of each latent."""
    mask = np.asarray(prepared().of(1)["mask"]) > 0
    assert mask[HOLE].all()
    cells = mask[:56, :88].reshape(7, 8, 11, 8).mean(axis=(1, 3))
    assert set(np.unique(cells)) == {0, 1}
    assert mask.sum() == 32 * 32  # rows 16 to 48, columns 32 to 64


def test_what_is_too_small_to_be_seen_in_a_large_region_is_painted_all_the_same() -> None:
    dots = Image.new("L", SIZE, 0)
    for dot in ((3, 3), (86, 56)):
        dots.putpixel(dot, 255)
    mask = np.asarray(prepared(dots, size=(16, 16), inpaint={"area": "masked"}).of(1)["mask"])
    assert mask[0, 0] == mask[15, 15] == 255


def test_blur_mixes_at_the_border_and_reaches_no_farther(worker: Worker) -> None:
    sharp = paint(worker, width=88, height=56)[0].astype(int)
    soft = paint(worker, width=88, height=56, inpaint={"blur_px": 3})[0].astype(int)
    before = np.asarray(image().resize((88, 56), Image.Resampling.LANCZOS)).astype(int)
    white = np.asarray(hole().resize((88, 56), Image.Resampling.LANCZOS)) >= 128
    rows, columns = np.nonzero(white)
    box = (rows.min(), rows.max(), columns.min(), columns.max())
    assert (soft[~white] != before[~white]).any()  # beyond the border
    down, across = np.mgrid[:56, :88]
    far = (down < box[0] - 12) | (down > box[1] + 12) | (across < box[2] - 12) | (across > box[3] + 12)
    assert np.array_equal(soft[far], before[far])
    middle = (slice(box[0] + 9, box[1] - 8), slice(box[2] + 9, box[3] - 8))
    assert np.abs(soft[middle] - sharp[middle]).max() <= 3


def test_the_soft_border_is_a_gaussian_in_pixels_of_the_output() -> None:
    """White is painted over black, so the output is the soft mask."""
    from workers.diffusion.inputs.inpainting import Painting

    half = Image.new("L", (120, 40), 0)
    half.paste(255, (60, 0, 120, 40))
    request = {"model": "m", "kind": "inpaint", "prompt": "", "negative_prompt": "", "seed": 1, "steps": 1,
               "guidance_scale": 1.0, "width": 120, "height": 40}  # fmt: skip
    for how in ({"blur_px": 8.0}, {"blur_px": 8.0, "area": "masked"}):
        painting = Painting(
            Image.new("RGB", (120, 40)), half, GenerationRequest.from_dict({**request, "inpaint": how}), 8
        )
        row = painting.finished(np.full((1, 1, 40, 120, 3), 255, np.uint8))[0, 0, 20, :, 0] / 255
        places = (np.arange(120) - 59.5) / 8
        gaussian = np.array([np.trapezoid(np.exp(-(t**2) / 2), t) for t in (np.linspace(-9, x, 400) for x in places)])
        assert np.abs(row - gaussian / np.sqrt(2 * np.pi)).max() < 0.03


def test_a_soft_border_lies_within_the_region() -> None:
    """Otherwise it would end in a hard edge."""
    painting = prepared(size=(64, 64), inpaint={"area": "masked", "blur_px": 4})
    painted = np.asarray(painting.finished(np.zeros((1, 1, 64, 64, 3), np.uint8))[0, 0])
    before = np.asarray(image()).astype(int)
    share = 1 - painted.sum(axis=-1) / before.sum(axis=-1).clip(min=1)  # share of each pixel that is new
    changed = np.argwhere(share > 0.5)
    assert (changed.min(axis=0) >= (20, 34)).all()
    assert (changed.max(axis=0) <= (43, 61)).all()
    for steps in (np.diff(share[32]), np.diff(share[:, 48])):
        assert np.abs(steps).max() < 0.25


def test_each_fill_gives_another_picture_and_the_same_one_again(worker: Worker) -> None:
    def filled(fill: str, **fields: Any) -> np.ndarray:
        return paint(worker, strength=0.5, inpaint={"fill": fill}, **fields)

    pictures = [filled(fill) for fill in FILLS]
    for index, one in enumerate(pictures):
        assert all(not np.array_equal(one, other) for other in pictures[index + 1 :])
        assert np.array_equal(filled(FILLS[index]), one)
    both = filled("noise", num_images=2, seed=40)
    assert np.array_equal(both[1], filled("noise", seed=41)[0])


def test_what_lies_under_the_mask_at_the_start() -> None:
    def start(fill: str, seed: int = 1, **more: Any) -> tuple[np.ndarray, np.ndarray]:
        found = prepared(inpaint={"fill": fill, **more}).of(seed)
        return np.asarray(found["image"]).astype(int), np.asarray(found["mask"]) > 0

    before = np.asarray(image()).astype(int)
    for fill in FILLS:
        found, mask = start(fill)
        assert np.array_equal(found[~mask], before[~mask])
        assert np.array_equal(found[mask], before[mask]) == (fill == "original")
        assert np.array_equal(start(fill)[0], found)
    assert len(np.unique(start("nothing")[0][mask])) == 1
    noise, other = start("noise", 1)[0], start("noise", 2)[0]
    assert not np.array_equal(noise[mask], other[mask])
    assert noise[mask].std() > 50
    assert start("blurred")[0][mask].std() < before[mask].std() / 2


def test_the_surroundings_colours_flow_in() -> None:
    from workers.diffusion.inputs.inpainting import Painting

    pixels = np.zeros((*SIZE[::-1], 3), np.uint8)
    pixels[:, :45], pixels[:, 45:] = (200, 40, 40), (40, 40, 200)
    pixels[HOLE] = 255  # goes
    request = {"model": "m", "kind": "inpaint", "prompt": "", "negative_prompt": "", "seed": 1, "steps": 1,
               "guidance_scale": 1.0, "width": SIZE[0], "height": SIZE[1], "inpaint": {"fill": "blurred"}}  # fmt: skip
    flowed = Painting(Image.fromarray(pixels), hole(), GenerationRequest.from_dict(request), 8).of(1)["image"]
    filled = np.asarray(flowed).astype(int)
    assert filled[HOLE].max() <= 200
    assert np.abs(filled[32, 34] - (200, 40, 40)).max() < 30
    assert np.abs(filled[32, 61] - (40, 40, 200)).max() < 30
    everything = prepared(Image.new("L", SIZE, 255), inpaint={"fill": "blurred"}).of(1)["image"]
    assert everything.getcolors() is not None
    assert len(everything.getcolors()) == 1


def test_a_stopped_run_of_a_region_leaves_nothing_behind(worker: Worker) -> None:
    how = {"area": "masked", "fill": "noise", "blur_px": 2.0}
    before, plain = paint(worker, inpaint=how), worker.compute("sd")
    with pytest.raises(RunCancelled):
        paint(worker, inpaint=how, stop_at=6)
    assert np.array_equal(paint(worker, inpaint=how), before)
    assert np.array_equal(worker.compute("sd"), plain)


@pytest.mark.parametrize("size", [(4000, 2), (2, 4000), (1, 1), (3000, 2000)])
@pytest.mark.parametrize("area", ["whole", "masked"])
def test_hostile_sizes(worker: Worker, size: tuple[int, int], area: str) -> None:
    large = Image.new("RGB", size, (9, 99, 199))
    mask = Image.new("L", (50, 40), 0)
    ImageDraw.Draw(mask).rectangle([20, 10, 30, 30], fill=255)
    keys = {"image": worker.stored(large), "mask": worker.stored(mask)}
    how = {"area": area, "padding_px": 512, "blur_px": 256.0, "fill": "blurred"}
    for resize in ("stretch", "crop", "pad"):
        after = worker.compute("sd", kind="inpaint", strength=0.5, steps=2, resize=resize, inpaint=how, **keys)
        assert after.shape == (1, 1, *(size[::-1] if area == "masked" else (32, 32)), 3)


SIDES = st.integers(1, 80)


@given(
    image_size=st.tuples(SIDES, SIDES), mask_size=st.tuples(SIDES, SIDES), size=st.tuples(SIDES, SIDES),
    corners=st.tuples(*[st.floats(0, 1)] * 4), resize=st.sampled_from(RESIZES), area=st.sampled_from(AREAS),
    padding_px=st.integers(0, 512), blur_px=st.sampled_from([0.0, 0.3, 2.0, 256.0]), fill=st.sampled_from(FILLS),
    cell_px=st.sampled_from([1, 2, 8, 32]),
)  # fmt: skip
@settings(deadline=None, max_examples=300)
def test_any_image_and_mask(
    image_size: tuple[int, int], mask_size: tuple[int, int], size: tuple[int, int], corners: tuple[float, ...],
    resize: str, area: str, padding_px: int, blur_px: float, fill: str, cell_px: int,
) -> None:  # fmt: skip
    """Sizes are right, pixels that are not white are kept, and the pipeline paints all that is white."""
    from workers.diffusion.inputs.inpainting import Painting

    mask = Image.new("L", mask_size, 0)
    left, right = sorted(int(mask_size[0] * share) for share in corners[:2])
    top, bottom = sorted(int(mask_size[1] * share) for share in corners[2:])
    mask.paste(255, (left, top, right, bottom))
    request = {"model": "m", "kind": "inpaint", "prompt": "", "negative_prompt": "", "seed": 1, "steps": 1,
               "guidance_scale": 1.0, "width": size[0], "height": size[1], "resize": resize,
               "inpaint": {"area": area, "padding_px": padding_px, "blur_px": blur_px, "fill": fill}}  # fmt: skip
    before = picture(size=image_size)
    painting = Painting(before, mask, GenerationRequest.from_dict(request), cell_px)
    seen = painting.of(2)
    assert seen["image"].size == seen["mask"].size == size
    output = painting.finished(np.asarray(seen["image"])[None, None] ^ 255)[0, 0]
    kept = fit(image_size, image_size if area == "masked" else size, resize)
    white = np.asarray(kept.apply(mask, black_border=True)) >= 128
    original = np.asarray(kept.apply(before))
    assert output.shape == original.shape
    if not blur_px:
        assert np.array_equal(output[~white], original[~white])
    if not white.any():
        assert np.array_equal(output, original)
    if area == "whole":
        assert (np.asarray(seen["mask"])[white] == 255).all()
        if fill == "original" and not blur_px:
            assert np.array_equal(output[white], original[white] ^ 255)


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_resize_of_an_image_without_a_mask(worker: Worker, resize: str) -> None:
    key = worker.stored(image())
    stretched = worker.compute("sd", kind="img2img", image=key, strength=0.3)
    other = worker.compute("sd", kind="img2img", image=key, strength=0.3, resize=resize)
    assert stretched.shape == other.shape
    assert not np.array_equal(stretched, other)
    assert worker.compute("ltx", kind="img2video", image=key, resize=resize).shape[2:] == (32, 32, 3)
