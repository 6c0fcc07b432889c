"""Pipelines of every family: stopped anywhere, they stay as they were, and no job affects the next."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import ExecutionError, RunCancelled
from jobs.models.schedulers import SAMPLERS
from jobs.settings import Settings
from tests.support.computing import Worker
from tests.support.store_driver import StoreDriver

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


FAMILIES = [
    ("sd", "text2img"),
    ("sd", "inpaint"),
    ("sdxl", "text2img"),
    ("sdxl-half", "img2img"),
    ("flux", "text2img"),
    ("flux", "inpaint"),
    ("kandinsky", "mix2img"),
    ("kandinsky-combined", "text2img"),
    ("kandinsky-inpaint", "inpaint"),
    ("flux-kontext", "edit"),
    ("flux2", "edit"),
    ("ltx", "text2video"),
    ("ltx2", "text2video"),
    ("anima", "text2img"),
    ("anima", "img2img"),
    ("ltx2-modular", "text2video"),
    ("wan", "text2video"),
    ("wan-i2v", "img2video"),
    ("wan-v2v", "video2video"),
    ("ltx-conditions", "video2video"),
    ("cogvideox", "text2video"),
    ("unknown", "text2img"),
]


@pytest.mark.parametrize(("model", "kind"), FAMILIES)
def test_stopped_anywhere_it_ends_there_and_the_pipeline_is_as_before(worker: Worker, model: str, kind: str) -> None:
    before = worker.compute(model, kind=kind)
    assert before.std() > 5  # a real picture
    looks, stages = worker.reporter.looks, worker.reporter.stages
    assert looks > max(worker.reporter.steps_done)  # checked more often than once a step
    assert ("prior" in stages) == model.startswith("kandinsky")
    for stop_at in sorted({1, 2, looks // 2, looks - 1, looks}):
        with pytest.raises(RunCancelled):
            worker.compute(model, stop_at=stop_at, kind=kind)
        assert worker.reporter.looks == stop_at  # nothing ran after the stop
    assert np.array_equal(worker.compute(model, kind=kind), before)


#: Requests that change every state that a request can change.
ODD: list[dict[str, Any]] = [
    {"scheduler": "Euler a"},
    {"scheduler": "DPM++ 2M SDE Karras", "steps": 6},
    {"scheduler": "LMS"},
    {"scheduler": "Heun Karras"},
    {"loras": [{"name": "grain", "weight": 2}]},
    {"loras": [{"name": "glow"}, {"name": "grain", "weight": -1}], "scheduler": "UniPC"},
    {"width": 48, "height": 16},
    {"guidance_scale": 1.0},
    {"negative_prompt": "a blue square", "guidance_scale": 12},
    {"kind": "img2img", "strength": 0.75},
    {"kind": "inpaint", "strength": 1.0, "loras": [{"name": "glow"}]},
    {"num_images": 3},
    {"clip_skip": 1},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_no_parameter_leaks_into_the_next_job(worker: Worker, odd: dict[str, Any]) -> None:
    plain = worker.compute("sd")
    changed = worker.compute("sd", **odd)
    assert changed.shape != plain.shape or not np.array_equal(changed, plain)
    assert np.array_equal(worker.compute("sd"), plain)
    with pytest.raises(RunCancelled):  # nor when it is stopped half-way
        worker.compute("sd", stop_at=4, **odd)
    assert np.array_equal(worker.compute("sd"), plain)
    assert np.array_equal(worker.compute("sd", **odd), changed)


def test_the_very_first_picture_is_the_same_after_all_that(worker: Worker, families_file: Path, tmp_path: Path) -> None:
    used = [worker.compute("sd"), worker.compute("flux"), worker.compute("kandinsky")]
    fresh = Worker(worker.driver, families_file, tmp_path)
    assert all(np.array_equal(fresh.compute(m), p) for m, p in zip(("sd", "flux", "kandinsky"), used, strict=True))


@pytest.mark.parametrize(
    ("model", "scheduler"),
    [("sdxl", "DDIM"), ("sdxl", "DPM++ SDE Karras"), ("flux", "UniPC"), ("ltx", "UniPC"), ("wan", "Euler"),
     ("wan", "DPM++ 2M SDE"), ("wan", "LCM")],
)  # fmt: skip
def test_a_scheduler_of_the_models_family_takes_the_place_of_its_own(
    worker: Worker, model: str, scheduler: str
) -> None:
    own = worker.compute(model)
    other = worker.compute(model, scheduler=scheduler)
    assert other.std() > 5
    assert not np.array_equal(other, own)
    assert np.array_equal(worker.compute(model), own)


def test_schedulers_with_more_steps_than_asked_for_count_them_all(worker: Worker) -> None:
    worker.compute("sd", scheduler="Heun", steps=4)
    assert worker.reporter.steps_done == list(range(8))  # the first step has one evaluation, every other step two


def test_the_last_of_several_images_has_the_last_step(worker: Worker) -> None:
    worker.compute("kandinsky", num_images=2, steps=3)
    assert worker.reporter.steps_done == list(range(7))


@pytest.mark.parametrize(
    ("model", "kind"),
    [("sd", "text2img"), ("sd", "inpaint"), ("sdxl", "img2img"), ("flux", "text2img"), ("kandinsky", "mix2img"),
     ("unknown", "text2img")],
)  # fmt: skip
def test_each_of_several_images_can_be_made_again_alone(worker: Worker, model: str, kind: str) -> None:
    together = worker.compute(model, kind=kind, num_images=3, seed=40)
    alone = np.concatenate([worker.compute(model, kind=kind, seed=40 + index) for index in range(3)])
    assert not np.array_equal(together[0], together[1])
    # Sums over a batch are rounded in another order.
    assert np.abs(together.astype(int) - alone).max() <= 2


def test_white_is_painted_anew_and_black_is_kept(worker: Worker) -> None:
    """Compared with another prompt. The decoder reaches a little over the border, so that part is left out."""
    one, two = (worker.compute("sd", kind="inpaint", strength=1.0, width=64, height=64, prompt=p)[0, 0].astype(int)
                for p in ("a", "something else entirely"))  # fmt: skip
    change = np.abs(one - two).mean(axis=(1, 2))
    assert change[48:].mean() > 4 * change[:16].mean()


def test_a_model_may_have_a_scheduler_and_loras_of_its_own(worker: Worker) -> None:
    styled = worker.compute("sd-styled")
    assert not np.array_equal(styled, worker.compute("sd"))
    assert np.array_equal(styled, worker.compute("sd", scheduler="Euler a", loras=[{"name": "grain", "weight": 0.5}]))
    assert not np.array_equal(styled, worker.compute("sd-styled", loras=[]))


def test_a_lora_that_does_not_fit_fails_and_the_next_job_runs(worker: Worker) -> None:
    plain = worker.compute("sd")
    with pytest.raises(ExecutionError, match="foreign does not fit"):
        worker.compute("sd", loras=[{"name": "grain"}, {"name": "foreign"}])
    assert np.array_equal(worker.compute("sd"), plain)


def test_a_lora_that_was_replaced_is_loaded_anew(worker: Worker, families_file: Path) -> None:
    folder = families_file.parent / "loras"
    copy = folder / "copy.safetensors"
    shutil.copy(folder / "grain.safetensors", copy)
    try:
        first = worker.compute("sd", loras=[{"name": "copy"}])
        assert np.array_equal(first, worker.compute("sd", loras=[{"name": "grain"}]))
        shutil.copy(folder / "glow.safetensors", copy)
        second = worker.compute("sd", loras=[{"name": "copy"}])
        assert np.array_equal(second, worker.compute("sd", loras=[{"name": "glow"}]))
        assert not np.array_equal(first, second)
    finally:
        copy.unlink()


@pytest.mark.parametrize("model", ["sd", "flux"])
@pytest.mark.parametrize("kind", ["img2img", "inpaint"])
def test_the_lowest_strength_runs_one_step(worker: Worker, model: str, kind: str) -> None:
    worker.compute(model, kind=kind, strength=0, steps=4)
    assert worker.reporter.steps_done[-1] == 1


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # numpy, of diffusers' DPM2
@pytest.mark.parametrize("sampler", [name for name, sampler in SAMPLERS.items() if sampler.automatic])
def test_the_automatic_schedules_make_pictures_of_their_own(worker: Worker, sampler: str) -> None:
    automatic = worker.compute("sd", scheduler=f"{sampler} {SAMPLERS[sampler].automatic}")
    assert not np.array_equal(automatic, worker.compute("sd", scheduler=sampler))


@pytest.mark.parametrize("sampler", [name for name, sampler in SAMPLERS.items() if sampler.flow])
def test_a_seed_repeats_whatever_the_sampler(worker: Worker, sampler: str) -> None:
    first, again = (worker.compute("wan", kind="text2video", scheduler=sampler) for _ in range(2))
    assert np.array_equal(first, again)


def test_a_sampler_of_both_families(worker: Worker) -> None:
    heun, plain = (worker.compute("wan", kind="text2video", scheduler=f"DPM++ 2M SDE{end}") for end in (" Heun", ""))
    assert not np.array_equal(heun, plain)


def test_clip_skip_leaves_out_layers_of_the_text_encoder(worker: Worker) -> None:
    assert not np.array_equal(worker.compute("sd", clip_skip=1), worker.compute("sd"))


def test_the_weight_of_a_lora_in_the_text_encoder_is_its_own(worker: Worker) -> None:
    """``glow`` changes the text encoder too, ``grain`` does not."""

    def of(name: str, **weights: float) -> np.ndarray:
        return worker.compute("sd", loras=[{"name": name, **weights}])

    both, text_only = of("glow", weight=1), of("glow", weight=0, text_encoder_weight=1)
    pictures = [worker.compute("sd"), both, text_only, of("glow", weight=1, text_encoder_weight=0)]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert np.array_equal(of("glow", weight=1, text_encoder_weight=1), both)
    assert np.array_equal(of("grain", weight=1, text_encoder_weight=0), of("grain", weight=1))


def test_loras_do_not_pile_up(worker: Worker, families_file: Path) -> None:
    folder = families_file.parent / "loras"
    plain = worker.compute("sd", steps=1)
    copies = [folder / f"many{number}.safetensors" for number in range(12)]
    try:
        for copy in copies:
            shutil.copy(folder / "grain.safetensors", copy)
            worker.compute("sd", steps=1, loras=[{"name": copy.stem}])
        pipeline = worker.pipelines.get(worker.models.get("sd"), worker.models.get("sd").kinds[0])
        assert 1 <= len(pipeline.get_list_adapters()["unet"]) <= 8
        assert np.array_equal(worker.compute("sd", steps=1), plain)
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)


def test_the_file_gives_an_unknown_pipeline_its_arguments(worker: Worker) -> None:
    plain = worker.compute("unknown")
    assert worker.reporter.steps_done == [0, 1, 2, 3, 4]  # counted without a step callback
    noisy = worker.compute("unknown", guidance_scale=1.0)  # its argument eta
    assert not np.array_equal(plain, noisy)
    assert worker.compute("unknown", num_images=2).shape == (2, 1, 16, 16, 3)  # its argument batch_size
