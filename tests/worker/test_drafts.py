"""A draft: what a run would make of its present state, decoded by its pipeline, shown as a preview."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.errors import RunInterrupted
from jobs.settings import PROJECT_ROOT, Settings
from tests.support.computing import Worker
from tests.support.folder_keeper import FolderKeeper
from tests.support.resumed_runs import counted
from tests.support.store_driver import StoreDriver
from workers.reporting.reporter import Reporter

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, np.ndarray]]:
    """Return the steps and pictures that runs show."""
    found: list[tuple[int, np.ndarray]] = []

    def show(_self: Reporter, step: int, draw: Any) -> None:
        found.append((step, np.asarray(Image.open(io.BytesIO(draw()[0])))))

    monkeypatch.setattr(Reporter, "show", show)
    return found


@pytest.mark.parametrize(
    ("model", "kind", "scheduler"),
    [("sd", "text2img", "DDIM"), ("sd", "text2img", "Euler a"), ("sd", "inpaint", "DPM++ 2M SDE"),
     ("sd", "img2img", "LCM"), ("flux", "text2img", None), ("kandinsky", "text2img", None), ("ltx", "img2video", None),
     ("ltx2", "text2video", None), ("cogvideox", "text2video", None), ("wan-high-low", "text2video", None),
     ("unknown", "text2img", None)],
)  # fmt: skip
def test_the_run_ends_with_a_draft_and_goes_on_bit_equal(
    worker: Worker, tmp_path: Path, shown: list[tuple[int, np.ndarray]], model: str, kind: str, scheduler: str | None
) -> None:
    fields: dict[str, Any] = {"kind": kind, "steps": 6, "scheduler": scheduler}
    fields |= {"frames": 1} if model == "ltx2" else {"strength": 1.0} if kind in ("img2img", "inpaint") else {}
    with counted(worker, model) as forwards:
        calm = worker.compute(model, **fields)
        computed = forwards.count
        forwards.count = 0
        with pytest.raises(RunInterrupted):
            worker.compute(model, keeper=FolderKeeper(tmp_path, stop_at=2, draft_at=2), **fields)
        assert forwards.count * 3 == computed  # of 6 steps; a draft needs no denoiser
    assert worker.reporter.steps_done == [0, 1, 2]
    [(step, picture)] = shown
    assert (step, picture.shape) == (2, calm.shape[2:])
    assert picture.std() > 2
    assert np.array_equal(worker.compute(model, keeper=FolderKeeper(tmp_path), **fields), calm)


def test_a_run_that_is_not_interrupted_after_all_goes_on(
    worker: Worker, tmp_path: Path, shown: list[tuple[int, np.ndarray]]
) -> None:
    """Two images in a call each; the draft of the second one."""
    fields: dict[str, Any] = {"num_images": 2, "hires": {"scale": 2, "strength": 0.5}}
    calm = worker.compute("kandinsky", **fields)
    keeper = FolderKeeper(tmp_path, steps={6}, draft_at=6)
    assert np.array_equal(worker.compute("kandinsky", keeper=keeper, **fields), calm)
    assert worker.reporter.steps_done == list(range(13))
    assert [step for step, _ in shown] == [6]
    assert (keeper.refusals, keeper.obstacles) == ([], [])


def test_a_draft_that_cannot_be_made_is_left_out(
    worker: Worker, tmp_path: Path, shown: list[tuple[int, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = worker.compute("sd")
    spec = worker.models.get("sd")
    vae = worker.pipelines.get(spec, spec.kinds[0]).vae
    monkeypatch.setattr(vae, "decode", lambda *_, **__: 1 / 0)
    with pytest.raises(RunInterrupted):
        worker.compute("sd", keeper=FolderKeeper(tmp_path, stop_at=3, draft_at=3))
    monkeypatch.undo()
    assert shown == []
    assert np.array_equal(worker.compute("sd", keeper=FolderKeeper(tmp_path)), calm)


@pytest.mark.parametrize("scheduler", ["DDIM", "Euler", "Euler a", "Heun", "DPM++ 2M Karras", "UniPC", "DEIS", "LMS"])
def test_a_draft_of_the_demo_model_resembles_its_picture(
    server: Settings, tmp_path: Path, shown: list[tuple[int, np.ndarray]], scheduler: str
) -> None:
    """After half of the steps, it is much closer to the result than a picture of another text."""
    worker = Worker(StoreDriver(server), PROJECT_ROOT / "models.toml", tmp_path)
    fields: dict[str, Any] = {"model": "demo-image", "steps": 10, "scheduler": scheduler}
    texts = "a red circle on a blue background", "a green square on a white background"
    [[result]], [[other]] = (worker.compute(prompt=text, **fields) for text in texts)
    half = worker.reporter.steps_done[-1] // 2
    with pytest.raises(RunInterrupted):
        worker.compute(prompt=texts[0], keeper=FolderKeeper(tmp_path / "c", stop_at=half, draft_at=half), **fields)
    [(_, draft)] = shown
    assert difference(draft, result) < difference(other, result) / 6
    assert difference(draft, result) < 12


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the mean difference of two pictures in levels of 255."""
    return float(np.abs(one.astype(int) - other).mean())
