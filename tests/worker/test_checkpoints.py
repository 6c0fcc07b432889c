"""A run that goes on from a checkpoint ends bit-equal, and computes no step again: every family and every scheduler."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import RunCancelled, RunInterrupted
from jobs.models.schedulers import SAMPLERS
from jobs.settings import PROJECT_ROOT, Settings
from tests.support.computing import Worker
from tests.support.folder_keeper import FolderKeeper
from tests.support.resumed_runs import check_resumed
from tests.support.store_driver import StoreDriver

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


FAMILIES: list[tuple[str, str, dict[str, Any]]] = [
    ("sd", "img2img", {"strength": 0.9}),
    ("sd", "inpaint", {"strength": 1.0}),
    ("sd-fill", "inpaint", {"inpaint": {"fill": "noise"}}),
    ("sdxl", "text2img", {}),
    ("sdxl-half", "img2img", {}),
    ("flux", "img2img", {}),
    ("flux-kontext", "edit", {}),
    ("flux2", "edit", {}),
    ("flux", "inpaint", {}),
    ("flux-fill", "inpaint", {}),
    ("kandinsky", "mix2img", {}),
    ("kandinsky", "img2img", {}),
    ("kandinsky-inpaint", "inpaint", {}),
    ("kandinsky-combined", "text2img", {"prior": {"steps": 3}}),
    ("ltx", "text2video", {}),
    ("ltx", "img2video", {}),
    ("ltx2", "text2video", {"frames": 1}),
    ("anima", "text2img", {"num_images": 2}),
    ("anima", "img2img", {}),
    ("wan-i2v", "img2video", {}),
    ("cogvideox", "text2video", {}),
    ("unknown", "text2img", {"num_images": 2, "guidance_scale": 1.0}),
]


@pytest.mark.parametrize(("model", "kind", "more"), FAMILIES, ids=lambda value: str(value)[:40])
def test_every_family(worker: Worker, tmp_path: Path, model: str, kind: str, more: dict[str, Any]) -> None:
    check_resumed(worker, tmp_path, model, kind=kind, **more)


#: Requests that keep more than one state, or another one than usual.
ODD: list[tuple[str, dict[str, Any]]] = [
    ("sd", {"num_images": 2, "loras": [{"name": "glow"}], "clip_skip": 1}),
    ("sd", {"variation": {"seed": 9, "strength": 0.4}, "scheduler": "Euler a", "num_images": 2}),
    ("kandinsky", {"variation": {"seed": 9, "strength": 0.4}}),
    ("flux", {"num_images": 2, "scheduler": "UniPC"}),
]


@pytest.mark.parametrize(("model", "fields"), ODD, ids=str)
def test_odd_requests(worker: Worker, tmp_path: Path, model: str, fields: dict[str, Any]) -> None:
    check_resumed(worker, tmp_path, model, **fields)


@pytest.mark.filterwarnings("ignore:__array_wrap__")  # numpy, of diffusers' DPM2
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler(worker: Worker, tmp_path: Path, sampler: str) -> None:
    schedule = SAMPLERS[sampler].automatic
    check_resumed(worker, tmp_path, "sd", scheduler=f"{sampler} {schedule}".strip(), width=16, height=16)


@pytest.mark.parametrize("sampler", [name for name, sampler in SAMPLERS.items() if sampler.flow])
def test_every_sampler_of_flow_models(worker: Worker, tmp_path: Path, sampler: str) -> None:
    check_resumed(worker, tmp_path, "wan", kind="text2video", scheduler=sampler)


@pytest.mark.parametrize("schedule", ["Karras", "Exponential", "Beta", "SGM Uniform"])
def test_every_schedule(worker: Worker, tmp_path: Path, schedule: str) -> None:
    check_resumed(worker, tmp_path, "sd", scheduler=f"DPM++ 2M {schedule}", width=16, height=16)


@pytest.mark.parametrize("kind", ["text2video", "img2video"])
def test_the_shipped_video_model(worker: Worker, tmp_path: Path, kind: str) -> None:
    shipped = Worker(worker.driver, PROJECT_ROOT / "models.toml", tmp_path)
    try:
        check_resumed(shipped, tmp_path, "demo-video", kind=kind, steps=4)
    finally:
        worker.driver.open("gpu0", *worker.models.names())


def test_every_call_of_a_run(worker: Worker, tmp_path: Path) -> None:
    """Prior, first pass and second pass of two images, each in a call of its own: 2 × 4 steps and 2 × 2."""
    fields = {"num_images": 2, "hires": {"scale": 2, "strength": 0.5}}
    check_resumed(worker, tmp_path, "kandinsky", (3, 4, 6, 8, 9, 11, 12), **fields)


def test_a_second_pass_with_more_steps_than_expected(worker: Worker, tmp_path: Path) -> None:
    """Progress counts the steps that the first call made before the interruption: Heun makes 7 of 4."""
    fields = {"hires": {"scale": 1.5, "strength": 1, "steps": 4}, "scheduler": "Heun"}
    check_resumed(worker, tmp_path, "sd", (5, 7, 9), **fields)


def test_two_denoisers(worker: Worker, tmp_path: Path) -> None:
    """At each step before, at and after the change from one to the other."""
    check_resumed(worker, tmp_path, "wan-high-low", (1, 2, 3, 4, 5, 6), kind="text2video", steps=6)


@pytest.mark.parametrize(("model", "kind"), [("sd", "text2img"), ("ltx", "text2video"), ("kandinsky", "mix2img")])
def test_interrupted_again_and_again(worker: Worker, tmp_path: Path, model: str, kind: str) -> None:
    calm = worker.compute(model, kind=kind, steps=6)
    for step in (1, 3, 5):
        with pytest.raises(RunInterrupted) as interrupted:
            worker.compute(model, keeper=FolderKeeper(tmp_path, stop_at=step), kind=kind, steps=6)
        assert interrupted.value.step == step == worker.reporter.steps_done[-1]
    last = FolderKeeper(tmp_path)
    assert np.array_equal(worker.compute(model, keeper=last, kind=kind, steps=6), calm)
    assert last.resumed_at == [5]
    assert np.array_equal(worker.compute(model, kind=kind, steps=6), calm)


def test_it_can_be_stopped_while_it_replays(worker: Worker, tmp_path: Path) -> None:
    calm = worker.compute("sd", steps=6)
    with pytest.raises(RunInterrupted):
        worker.compute("sd", keeper=FolderKeeper(tmp_path, stop_at=5), steps=6)
    for stop_at in (2, 5, 8):
        keeper = FolderKeeper(tmp_path)
        with pytest.raises(RunCancelled):
            worker.compute("sd", stop_at, keeper, steps=6)
        assert (worker.reporter.steps_done, keeper.refusals) == ([0], [])
    assert np.array_equal(worker.compute("sd", steps=6), calm)


def test_progress_begins_at_the_checkpoint(worker: Worker, tmp_path: Path) -> None:
    """Of two calls of 4 steps each, 6 steps are done: a quarter of the work is left, and took the time since then."""
    fields: dict[str, Any] = {"num_images": 2, "keeper": FolderKeeper(tmp_path, stop_at=6)}
    with pytest.raises(RunInterrupted):
        worker.compute("kandinsky", **fields)
    worker.compute("kandinsky", **{**fields, "keeper": FolderKeeper(tmp_path)})
    assert worker.reporter.steps_done == [0, 7, 8]
    assert worker.reporter.resumed_at == [(6, 0.75)]


def test_without_a_keeper_nothing_is_recorded(worker: Worker) -> None:
    pipeline = worker.pipelines.get(worker.models.get("sd"), worker.models.get("sd").kinds[0])
    hooks: list[int] = []
    classes: list[type] = []

    def look(*_: Any) -> None:
        hooks.append(len(pipeline.unet._forward_hooks))
        classes.append(type(pipeline.scheduler))

    handle = pipeline.unet.conv_in.register_forward_hook(look)
    try:
        worker.compute("sd")
    finally:
        handle.remove()
    assert set(hooks) == {0}
    assert {cls.set_timesteps for cls in classes} == {type(pipeline.scheduler).set_timesteps}
