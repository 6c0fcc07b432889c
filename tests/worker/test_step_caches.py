"""Step caches on a real transformer: put on for one run, by model or by quality, and taken off again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import ModelLoadFailed, RunCancelled
from jobs.settings import Settings
from tests.support.computing import Worker
from tests.support.store_driver import StoreDriver

STEPS = 6
MODELS = """
[plain]
source = "./deep"
kinds = ["text2video"]
frames_step = 8
defaults = { steps = 6, width = 32, height = 32, frames = 9, fps = 8 }
limits = { steps = [1, 50], width = [32, 64], height = [32, 64], frames = [9, 33] }
[plain.quality.draft]
step_cache = { method = "first_block", threshold = 0.5 }
"""
METHODS = {
    "pyramid": 'method = "pyramid_attention", spatial_attention_block_skip_range = 2, '
    "spatial_attention_timestep_skip_range = [0, 1000]",
    "taylorseer": 'method = "taylorseer", cache_interval = 2, disable_cache_before_step = 1',
    "mag": 'method = "mag", threshold = 0.5, retention_ratio = 0.1, mag_ratios = [1.0, 0.99, 0.98, 0.97]',
}
REFUSED = {
    "text": 'method = "text_kv"',
    "strict": 'method = "sea", threshold = -1',
}


def _models() -> str:
    named = {**METHODS, **REFUSED}
    base = MODELS.partition("[plain.quality")[0]
    return MODELS + "".join(
        base.replace("[plain]", f"[{name}]") + f"step_cache = {{ {options} }}\n" for name, options in named.items()
    )


@pytest.fixture(scope="module")
def worker(server: Settings, models_file: Path) -> Iterator[Worker]:
    """Yield a worker with the tiny video model, but with four blocks, so that a cache has blocks to skip."""
    import torch
    from diffusers import LTXPipeline, LTXVideoTransformer3DModel

    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    torch.manual_seed(0)
    transformer = LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=4, attention_head_dim=8, cross_attention_dim=32,
        num_layers=4, caption_channels=32,
    )  # fmt: skip
    LTXPipeline.from_pretrained(models_file.parent / "tiny-video", transformer=transformer).save_pretrained(
        folder / "deep"
    )
    (folder / "models.toml").write_text(_models())
    yield Worker(StoreDriver(server), folder / "models.toml", folder)
    shutil.rmtree(folder, ignore_errors=True)


def computed(worker: Worker, model: str, **fields: Any) -> tuple[np.ndarray, int]:
    """Return the frames, and how often an attention of the last block ran."""
    spec = worker.models.get(model)
    transformer, calls = worker.pipelines.get(spec, spec.kinds[0]).transformer, 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    hook = transformer.transformer_blocks[-1].attn1.to_q.register_forward_hook(count)
    try:
        return worker.compute(model, kind="text2video", guidance_scale=1.0, **fields), calls
    finally:
        hook.remove()


def test_a_quality_has_its_own_cache_and_the_next_job_none(worker: Worker) -> None:
    before, all_calls = computed(worker, "plain")
    draft, calls = computed(worker, "plain", quality="draft")
    assert all_calls == STEPS
    assert 0 < calls < STEPS
    assert not np.array_equal(draft, before)
    after, calls = computed(worker, "plain")
    assert calls == STEPS
    assert np.array_equal(after, before)
    again, _ = computed(worker, "plain", quality="draft")
    assert np.array_equal(again, draft)  # nothing of the first draft was reused


def test_a_stopped_run_leaves_no_cache_behind(worker: Worker) -> None:
    before, _ = computed(worker, "plain")
    draft, _ = computed(worker, "plain", quality="draft")
    looks = worker.reporter.looks
    for stop_at in (looks // 2, looks):
        with pytest.raises(RunCancelled):
            computed(worker, "plain", quality="draft", stop_at=stop_at)
        after, calls = computed(worker, "plain")
        assert calls == STEPS
        assert np.array_equal(after, before)
    assert np.array_equal(computed(worker, "plain", quality="draft")[0], draft)


@pytest.mark.parametrize("model", METHODS)
def test_methods_run_fewer_attentions_and_are_the_same_in_each_job(worker: Worker, model: str) -> None:
    first, calls = computed(worker, model)
    assert 0 < calls < STEPS
    assert np.array_equal(computed(worker, model)[0], first)
    # A run with more steps has a longer schedule of its own.
    assert computed(worker, model, steps=2 * STEPS)[1] > calls
    assert np.array_equal(computed(worker, model)[0], first)


@pytest.mark.parametrize(
    ("model", "rule"),
    [("text", "has no blocks for text_kv"), ("strict", "`threshold` must be non-negative")],
)
def test_what_a_model_cannot_do_is_found_when_it_is_loaded(worker: Worker, model: str, rule: str) -> None:
    spec = worker.models.get(model)
    with pytest.raises(ModelLoadFailed, match=f"option step_cache: .*{rule}"):
        worker.pipelines.get(spec, spec.kinds[0])
