"""Noise of two seeds in every family: exact at both ends, mixed in between, and without effect on later jobs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jobs.errors import ExecutionError, RunCancelled
from jobs.settings import PROJECT_ROOT, Settings
from tests.support.computing import Worker
from tests.support.store_driver import StoreDriver

if TYPE_CHECKING:
    import torch

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), families_file, folder)
    shutil.rmtree(folder, ignore_errors=True)


FAMILIES: list[tuple[str, str, dict[str, Any]]] = [
    ("sd", "text2img", {}),
    ("sd", "text2img", {"scheduler": "Euler a"}),
    ("sd", "text2img", {"scheduler": "DPM++ 2M SDE"}),
    ("sd", "img2img", {}),
    ("sd", "inpaint", {}),
    ("sdxl", "text2img", {}),
    ("sdxl-half", "img2img", {}),
    ("sdxl", "inpaint", {}),
    ("flux", "text2img", {}),
    ("flux", "img2img", {}),
    ("flux", "inpaint", {}),
    ("kandinsky", "text2img", {}),
    ("kandinsky", "mix2img", {}),
    ("kandinsky", "img2img", {}),
    ("kandinsky-combined", "text2img", {}),
    ("kandinsky-inpaint", "inpaint", {}),
    ("ltx", "text2video", {}),
    ("ltx", "img2video", {}),
    ("wan", "text2video", {}),
    ("wan-i2v", "img2video", {}),
    ("cogvideox", "text2video", {}),
    ("unknown", "text2img", {}),
]


def varied(worker: Worker, model: str, strength: float, *, other: int = 50, **fields: Any) -> np.ndarray:
    return worker.compute(model, variation={"seed": other, "strength": strength}, **fields)


@pytest.mark.parametrize(("model", "kind", "more"), FAMILIES, ids=lambda value: str(value))
def test_from_one_seed_to_the_other(worker: Worker, model: str, kind: str, more: dict[str, Any]) -> None:
    first, other = (worker.compute(model, kind=kind, seed=seed, **more) for seed in (7, 50))
    assert not np.array_equal(first, other)
    assert np.array_equal(varied(worker, model, 1, kind=kind, **more), other)
    half = varied(worker, model, 0.5, kind=kind, **more)
    assert not np.array_equal(half, first)
    assert not np.array_equal(half, other)
    assert np.array_equal(varied(worker, model, 0, kind=kind, **more), first)
    assert np.array_equal(worker.compute(model, kind=kind, **more), first)  # nothing of the variation remains


def test_a_little_of_another_seed_changes_little(worker: Worker) -> None:
    first, other, little, much = (
        worker.compute("sd").astype(int), worker.compute("sd", seed=50).astype(int),
        varied(worker, "sd", 0.1).astype(int), varied(worker, "sd", 0.9).astype(int),
    )  # fmt: skip
    assert np.abs(little - first).mean() < np.abs(much - first).mean()
    assert np.abs(much - other).mean() < np.abs(little - other).mean()


@pytest.mark.parametrize(("model", "kind"), [("sd", "text2img"), ("sd", "img2img"), ("flux", "text2img"),
                                             ("kandinsky", "text2img"), ("unknown", "text2img")])  # fmt: skip
def test_image_i_has_the_seed_and_the_other_seed_plus_i(worker: Worker, model: str, kind: str) -> None:
    together = varied(worker, model, 0.4, kind=kind, num_images=3)
    alone = np.concatenate([varied(worker, model, 0.4, kind=kind, other=50 + index) for index in range(3)])
    assert not np.array_equal(together[0], together[1])
    # Sums over a batch are rounded in another order.
    assert np.abs(together.astype(int) - alone).max() <= 2


@pytest.mark.parametrize("model", ["sd", "kandinsky"])
def test_a_stopped_one_leaves_nothing(worker: Worker, model: str) -> None:
    import torch

    plain = worker.compute(model)
    randn = torch.randn
    varied(worker, model, 0.5)
    looks = worker.reporter.looks
    for stop_at in (2, looks // 2, looks - 1):
        with pytest.raises(RunCancelled):
            varied(worker, model, 0.5, stop_at=stop_at)
        assert torch.randn is randn
    assert np.array_equal(worker.compute(model), plain)


def test_noise_that_cannot_be_mixed_fails_the_job(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """One model draws its first noise without ``torch.randn``, one draws none."""
    import torch
    from diffusers.pipelines.stable_diffusion import pipeline_stable_diffusion as module

    plain = worker.compute("sd")

    def direct(shape: Any, generator: Any = None, device: Any = None, dtype: Any = None, **_: Any) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype).normal_(generator=generator)

    with monkeypatch.context() as patched:
        patched.setattr(module, "randn_tensor", direct)
        assert worker.compute("sd").std() > 5
        with pytest.raises(ExecutionError, match="variation: this model draws noise"):
            varied(worker, "sd", 0.5)
        with pytest.raises(ExecutionError, match="variation: this model draws noise"):
            varied(worker, "sd", 0.5, scheduler="Euler a")  # the first noise bypasses it, the others do not
    assert np.array_equal(worker.compute("sd"), plain)


def test_on_the_arc_noise_stays_as_strong() -> None:
    import torch

    from workers.diffusion import noise

    one, other = (torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    for share in (0.1, 0.5, 0.8):
        assert float(noise.interpolated(one, other, share).std()) == pytest.approx(1, abs=0.02)
        assert float(torch.lerp(one, other, share).std()) < 0.92
    assert torch.equal(noise.interpolated(one, other, 0), one)
    assert torch.equal(noise.interpolated(one, other, 1), other)
    assert torch.allclose(noise.interpolated(one, one, 0.3), one)
    half = noise.interpolated(one.half(), other.half(), 0.5)
    assert half.dtype == torch.float16


@pytest.mark.parametrize(
    ("model", "kind"),
    [("demo-image", "text2img"), ("demo-image", "inpaint"), ("demo-video", "text2video"), ("demo-video", "img2video")],
)
def test_the_shipped_models(shipped: Worker, model: str, kind: str) -> None:
    first, other = (shipped.compute(model, kind=kind, steps=4, seed=seed) for seed in (7, 50))
    half, end = (varied(shipped, model, share, kind=kind, steps=4) for share in (0.5, 1))
    assert np.array_equal(end, other)
    assert not np.array_equal(half, first)
    assert not np.array_equal(half, other)


@pytest.fixture(scope="module")
def shipped(server: Settings) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    yield Worker(StoreDriver(server), PROJECT_ROOT / "models.toml", folder)
    shutil.rmtree(folder, ignore_errors=True)
