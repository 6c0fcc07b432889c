"""A second, larger pass, and settings of the prior, with real pipelines of every family."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.errors import ExecutionError, RunCancelled
from jobs.models.spec import Kind
from jobs.settings import PROJECT_ROOT, Settings
from tests.support.computing import Worker
from tests.support.resolving import resolve
from tests.support.store_driver import StoreDriver

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)

#: Models that can do text2img and img2img.
FAMILIES = ["sd", "sdxl", "sdxl-half", "flux", "kandinsky", "kandinsky-combined"]


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("model", FAMILIES)
def test_both_passes_are_counted_and_leave_nothing(worker: Worker, model: str) -> None:
    plain = worker.compute(model)
    _, _, height, width, _ = plain.shape
    hires = worker.compute(model, hires={"scale": 2, "strength": 0.5})
    assert hires.shape == (1, 1, 2 * height, 2 * width, 3)
    assert hires.std() > 5
    assert worker.reporter.steps_done == list(range(4 + 2 + 1))
    assert worker.reporter.stages.count("denoising") == 1
    assert np.array_equal(worker.compute(model, hires={"scale": 2, "strength": 0.5}), hires)
    assert np.array_equal(worker.compute(model), plain)


@pytest.mark.parametrize("model", ["sd", "flux", "kandinsky"])
def test_it_is_img2img_on_the_enlarged_first_picture(worker: Worker, model: str) -> None:
    """The result equals that of a caller who enlarges the first picture and sends it."""
    hires = worker.compute(model, hires={"scale": 2, "strength": 0.5})
    [[first]] = worker.compute(model)
    size = (2 * first.shape[1], 2 * first.shape[0])
    key = worker.stored(Image.fromarray(first).resize(size, Image.Resampling.LANCZOS))
    by_hand = worker.compute(model, kind="img2img", image=key, width=size[0], height=size[1], strength=0.5)
    assert np.array_equal(hires, by_hand)


def test_it_has_its_own_steps_and_the_jobs_scheduler(worker: Worker) -> None:
    worker.compute("sd", hires={"scale": 1.5, "steps": 10, "strength": 0.7})
    assert worker.reporter.steps_done == list(range(4 + 7 + 1))
    other = worker.compute("sd", hires={"scale": 1.5}, scheduler="Euler a")
    assert not np.array_equal(worker.compute("sd", hires={"scale": 1.5}), other)
    worker.compute("sd", hires={"scale": 1.5, "steps": 4, "strength": 1}, scheduler="Heun")
    assert worker.reporter.steps_done[-1] == 2 * 7  # the first step has one evaluation, every other step two


def test_loras_hold_for_both_passes(worker: Worker) -> None:
    wanted: dict[str, Any] = {"loras": [{"name": "glow", "weight": 2}], "hires": {"strength": 0.5}}
    plain, styled = worker.compute("sd"), worker.compute("sd", **wanted)
    [[first]] = worker.compute("sd", loras=wanted["loras"])
    key = worker.stored(Image.fromarray(first).resize((64, 64), Image.Resampling.LANCZOS))
    second = {"kind": "img2img", "image": key, "width": 64, "height": 64, "strength": 0.5}
    assert np.array_equal(styled, worker.compute("sd", **second, loras=wanted["loras"]))
    assert not np.array_equal(styled, worker.compute("sd", **second))
    assert np.array_equal(worker.compute("sd"), plain)


@pytest.mark.parametrize("model", ["sd", "kandinsky"])
@pytest.mark.parametrize("more", [{}, {"variation": {"seed": 50, "strength": 0.4}}], ids=["plain", "variation"])
def test_each_of_several_images_can_be_made_again_alone(worker: Worker, model: str, more: dict[str, Any]) -> None:
    hires = {"scale": 2, "strength": 0.5}
    together = worker.compute(model, hires=hires, num_images=2, **more)
    assert worker.reporter.steps_done[-1] == worker.reporter._steps
    second = {"variation": {"seed": 51, "strength": 0.4}} if more else {"seed": 8}
    alone = np.concatenate([worker.compute(model, hires=hires, **fields) for fields in (more, second)])
    # Sums over a batch are rounded in another order.
    assert np.abs(together.astype(int) - alone).max() <= 4


def test_a_variation_of_both_passes(worker: Worker) -> None:
    hires = {"scale": 2, "strength": 0.5}
    first, other = (worker.compute("sd", hires=hires, seed=seed) for seed in (7, 50))
    ends = [worker.compute("sd", hires=hires, variation={"seed": 50, "strength": share}) for share in (0.5, 1)]
    assert np.array_equal(ends[1], other)
    assert not np.array_equal(ends[0], other)
    assert not np.array_equal(ends[0], first)


@pytest.mark.parametrize("model", ["sd", "sdxl-half", "kandinsky"])
def test_stopped_in_the_second_pass_it_ends_there(worker: Worker, model: str) -> None:
    plain = worker.compute(model)
    hires = {"scale": 2, "steps": 6, "strength": 0.7}
    before = worker.compute(model, hires=hires)
    looks = worker.reporter.looks
    worker.compute(model)
    first_pass = worker.reporter.looks
    for stop_at in sorted({first_pass + 2, (first_pass + looks) // 2, looks - 2}):
        with pytest.raises(RunCancelled):
            worker.compute(model, stop_at=stop_at, hires=hires)
        assert worker.reporter.looks == stop_at  # nothing ran after the stop
        assert worker.reporter.steps_done[-1] >= 4
    assert np.array_equal(worker.compute(model), plain)
    assert np.array_equal(worker.compute(model, hires=hires), before)


class Watcher:
    """A reporter that requests every preview, and records their steps and sizes."""

    preview_wanted = True

    def __init__(self) -> None:
        self.shown: list[tuple[int, tuple[int, int]]] = []
        self.shares: list[float] = []

    def preview_due(self) -> bool:
        return True

    def warn(self, text: str) -> None:
        raise AssertionError(text)

    def preview(self, step: int, draw: Any) -> None:
        content, _ = draw()
        self.shown.append((step, Image.open(io.BytesIO(content)).size))

    def step(self, _done: int, share: float) -> None:
        self.shares.append(share)

    def expect(self, steps: int) -> None:
        self.steps = steps

    def stage(self, name: str) -> None:
        pass

    def check(self) -> None:
        pass


def test_previews_go_on_in_the_second_pass(worker: Worker) -> None:
    from workers.diffusion.generate import generate
    from workers.diffusion.preview import Previews

    fields = {"model": "sd", "steps": 4, "num_images": 2, "hires": {"scale": 2, "strength": 0.5, "steps": 6}}
    request, _ = resolve(worker.models, fields)
    spec, watcher = worker.models.get("sd"), Watcher()
    pipeline = worker.pipelines.get(spec, request.kind)
    previews = Previews(pipeline, request, watcher, None)  # type: ignore[arg-type]
    generate(pipeline, spec, request, watcher, None, previews, None,  # type: ignore[arg-type]
                 partial(worker.pipelines.get, spec, Kind.IMG2IMG))  # fmt: skip
    # A preview of each pass needs two of its steps.
    assert watcher.shown == [(step, (32, 32)) for step in (2, 3, 4)] + [(step, (64, 64)) for step in (6, 7, 9, 10)]
    assert watcher.steps == 10
    # A step with four times the pixels is four times the work.
    assert watcher.shares[3] == pytest.approx(2 * 4 / (2 * 4 + 4 * 6))
    assert watcher.shares[-1] == 1


PRIOR = [{"steps": 5}, {"guidance_scale": 9.0}, {"negative_prompt": "a blue square"}]


@pytest.mark.parametrize("model", ["kandinsky", "kandinsky-combined"])
@pytest.mark.parametrize("kind", ["text2img", "mix2img"])
@pytest.mark.parametrize("prior", PRIOR, ids=str)
def test_settings_of_the_prior(worker: Worker, model: str, kind: str, prior: dict[str, Any]) -> None:
    plain = worker.compute(model, kind=kind)
    changed = worker.compute(model, kind=kind, prior=prior)
    assert not np.array_equal(changed, plain)
    assert np.array_equal(worker.compute(model, kind=kind), plain)


def test_the_models_own_settings_of_the_prior_hold_where_nothing_was_sent(worker: Worker) -> None:
    plain = worker.compute("kandinsky")
    assert np.array_equal(worker.compute("kandinsky", prior={"steps": 2}), plain)  # the default of the models file
    both = worker.compute("kandinsky", negative_prompt="fog", prior={"negative_prompt": "a blue square"})
    for other in ({"negative_prompt": "fog"}, {"prior": {"negative_prompt": "a blue square"}}):
        assert not np.array_equal(worker.compute("kandinsky", **other), both)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return the likeness of two pictures, 1: equal."""
    return float(np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1])


def test_a_pipeline_that_takes_no_picture_fails_clearly(worker: Worker, tmp_path: Path) -> None:
    models = tmp_path / "models.toml"
    source = worker.models.get("sd").source
    models.write_text(f'[plain]\nsource = "{source}"\nkinds = ["text2img", "img2img"]\n'
                      "defaults = { steps = 2, width = 32, height = 32 }\n")  # fmt: skip
    with pytest.raises(ExecutionError, match="takes no image and strength for a second pass"):
        Worker(worker.driver, models, tmp_path).compute("plain", hires={"strength": 0.5})


def test_the_demo_model_draws_the_same_picture_larger(server: Settings, tmp_path: Path) -> None:
    """It differs from the enlarged first picture, and is closer to it than pictures of other seeds."""
    worker = Worker(StoreDriver(server), PROJECT_ROOT / "models.toml", tmp_path)
    fields = {"prompt": "a circle", "width": 128, "height": 128}
    firsts = [worker.compute("demo-image", seed=seed, **fields)[0, 0] for seed in (7, 8, 9)]
    enlarged, *others = (np.asarray(Image.fromarray(one).resize((192, 192), Image.Resampling.LANCZOS))
                         for one in firsts)  # fmt: skip
    hires = {"scale": 1.5, "strength": 0.4}
    [[found]] = worker.compute("demo-image", seed=7, hires=hires, **fields)
    assert np.abs(found.astype(int) - enlarged).mean() > 1
    assert likeness(found, enlarged) > 0.7
    assert likeness(found, enlarged) > max(likeness(found, other) for other in others) + 0.1
