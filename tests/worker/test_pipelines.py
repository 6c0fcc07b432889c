"""The models of one process, with real pipelines on the CPU and budgets of a few models."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from jobs.errors import ModelLoadFailed, OutOfMemory, RunCancelled
from jobs.models.load_options import LoadOptions
from jobs.models.registry import ModelRegistry
from jobs.models.spec import Kind, ModelSpec
from jobs.settings import Settings
from workers.pipelines.libraries import import_libraries

if TYPE_CHECKING:
    from workers.pipelines.cache import PipelineCache

#: More bytes than any test needs.
PLENTY = 2**40


@pytest.fixture(scope="module")
def spec(models_file: Path) -> ModelSpec:
    return ModelRegistry.from_file(models_file).get("tiny-image")


@pytest.fixture(scope="module")
def size(spec: ModelSpec) -> int:
    """Return the measured bytes of one model."""
    from workers.pipelines.cache import PipelineCache

    cache = PipelineCache(Settings.of(model_memory_bytes=PLENTY))
    cache.get(spec, Kind.TEXT2IMG)
    return cache.loaded_models()[0].bytes


@pytest.fixture
def caches(size: int) -> Callable[..., tuple[PipelineCache, list[dict[str, str]]]]:
    """``caches(models=2.5, parked=1.5, pinned={"a"})``: return a cache (budgets in models) and its reports."""

    from workers.pipelines.cache import PipelineCache

    def make(
        models: float, parked: float = 0, pinned: set[str] | None = None
    ) -> tuple[PipelineCache, list[dict[str, str]]]:
        told: list[dict[str, str]] = []
        settings = Settings.of(model_memory_bytes=int(models * size), parking_bytes=int(parked * size) or 1)
        cache = PipelineCache(settings, lambda: pinned or set(), lambda: told.append(places(cache)))
        return cache, told

    return make


Caches = Callable[..., "tuple[PipelineCache, list[dict[str, str]]]"]


def places(cache: PipelineCache) -> dict[str, str]:
    """Return the place of each model, most recently used first."""
    return {held.model: str(held.place) for held in cache.loaded_models()}


def use(cache: PipelineCache, spec: ModelSpec, *names: str) -> None:
    for name in names:
        cache.get(replace(spec, name=name), Kind.TEXT2IMG)


def test_the_measured_size_is_that_of_the_weights(size: int, models_file: Path) -> None:
    files = sum(path.stat().st_size for path in (models_file.parent / "tiny-image").glob("*/*.safetensors"))
    assert 0.8 * files < size < 1.2 * files


def test_the_least_recently_used_goes_first_and_everybody_is_told(caches: Caches, spec: ModelSpec) -> None:
    cache, told = caches(models=2.5)
    use(cache, spec, "a", "b", "a", "c")
    assert places(cache) == {"c": "device", "a": "device"}
    assert list(places(cache)) == ["c", "a"]
    use(cache, spec, "b")
    assert list(places(cache)) == ["b", "c"]
    assert cache.loads == 4
    assert {"c": "device"} in told  # a was no longer reported while b was loaded
    assert told[-1] == places(cache)


def test_what_has_to_go_is_parked_in_ram_first(caches: Caches, spec: ModelSpec) -> None:
    cache, told = caches(models=1.5, parked=1.5)
    use(cache, spec, "a", "b")
    assert places(cache) == {"b": "device", "a": "parked"}
    assert cache.resident == ["b"]
    use(cache, spec, "a")
    assert (places(cache), cache.loads) == ({"a": "device", "b": "parked"}, 2)  # restored without the disk
    use(cache, spec, "c")
    assert places(cache) == {"c": "device", "a": "parked"}  # b was parked longest, and there is memory for one
    assert told[-1] == places(cache)


def test_both_kinds_of_a_model_come_back_from_ram(caches: Caches, spec: ModelSpec) -> None:
    cache, _ = caches(models=1.5, parked=4)
    first = cache.get(replace(spec, name="a"), Kind.IMG2IMG)
    use(cache, spec, "b")
    assert cache.get(replace(spec, name="a"), Kind.IMG2IMG) is first
    assert cache.get(replace(spec, name="a"), Kind.TEXT2IMG).unet is first.unet


def test_pinned_models_are_passed_over_and_in_the_way_they_are_named(caches: Caches, spec: ModelSpec) -> None:
    cache, _ = caches(models=2.5, pinned={"a", "b"})
    use(cache, spec, "a", "c", "b")
    assert list(places(cache)) == ["b", "a"]
    assert all(held.pinned for held in cache.loaded_models())
    with pytest.raises(OutOfMemory, match=r"pinned ones hold .*: unpin one of a, b"):
        use(cache, spec, "c")
    cache.make_alone("c")  # as a job with too little memory does
    use(cache, spec, "c")
    assert list(places(cache)) == ["c"]


def test_a_model_larger_than_the_budget_is_tried_when_it_is_alone(caches: Caches, spec: ModelSpec) -> None:
    cache, _ = caches(models=0.5)
    use(cache, spec, "a", "b")
    assert places(cache) == {"b": "device"}


def test_unload_leaves_nothing(caches: Caches, spec: ModelSpec) -> None:
    cache, told = caches(models=1.5, parked=1.5)
    use(cache, spec, "a", "b")
    assert [cache.unload("a"), cache.unload("b"), cache.unload("b")] == [True, True, False]
    assert (places(cache), told[-1]) == ({}, {})


def test_loading_tells_how_far_it_is_and_stops_between_components(caches: Caches, spec: ModelSpec) -> None:
    cache, _ = caches(models=9)
    seen: list[tuple[int, int]] = []
    cache.get(spec, Kind.TEXT2IMG, lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({done for done, total in seen if 0 < done < total}) == 2  # after the first and the second of three
    [model] = cache.loaded_models()  # the total was estimated from the files
    assert seen[-1][0] == seen[-1][1] == pytest.approx(model.bytes, rel=0.01)

    def stop(done: int, total: int) -> None:
        if 0 < done < total:
            raise RunCancelled

    with pytest.raises(RunCancelled):
        cache.get(replace(spec, name="b"), Kind.TEXT2IMG, stop)
    assert "b" not in places(cache)
    use(cache, spec, "b")


# ---- load options


def loaded(spec: ModelSpec, **options: object) -> tuple[PipelineCache, object]:
    from workers.pipelines.cache import PipelineCache

    cache = PipelineCache(Settings.of(model_memory_bytes=PLENTY))
    return cache, cache.get(replace(spec, load=LoadOptions(**options)), spec.kinds[0])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def deep(models_file: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """Return the tiny video model with four blocks, so that a cache has blocks to skip."""
    import torch
    from diffusers import LTXPipeline, LTXVideoTransformer3DModel

    source = models_file.parent / "tiny-video"
    torch.manual_seed(0)
    transformer = LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=4, attention_head_dim=8, cross_attention_dim=32,
        num_layers=4, caption_channels=32,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("deep") / "deep"
    LTXPipeline.from_pretrained(source, transformer=transformer).save_pretrained(folder)
    return replace(ModelRegistry.from_file(models_file).get("tiny-video"), source=str(folder))


def video(pipeline: object, steps: int = 6, seed: int = 3) -> np.ndarray:
    import torch

    with torch.inference_mode():
        frames = pipeline(  # type: ignore[operator]
            "a star", num_inference_steps=steps, width=32, height=32, num_frames=9, output_type="np",
            generator=torch.Generator().manual_seed(seed),
        ).frames  # fmt: skip
    pipeline.maybe_free_model_hooks()  # type: ignore[attr-defined]
    return np.asarray(frames)


def test_layerwise_casting_halves_the_denoiser_in_memory_and_still_computes(deep: ModelSpec) -> None:
    import torch

    plain, _ = loaded(replace(deep, dtype="bfloat16"))
    casted, second = loaded(replace(deep, dtype="bfloat16"), layerwise_casting="float8_e4m3fn")
    assert casted.loaded_models()[0].bytes < 0.9 * plain.loaded_models()[0].bytes
    dtypes = {parameter.dtype for parameter in second.transformer.transformer_blocks.parameters()}  # type: ignore[attr-defined]
    assert torch.float8_e4m3fn in dtypes
    assert np.isfinite(video(second)).all()
    casted.move(next(iter(casted._entries.values())), "parked")  # type: ignore[arg-type]
    assert np.isfinite(video(second)).all()


def test_tiling_and_slicing_of_the_vae(spec: ModelSpec) -> None:
    _, pipeline = loaded(spec, vae_tiling=True, vae_slicing=True)
    assert (pipeline.vae.use_tiling, pipeline.vae.use_slicing) == (True, True)  # type: ignore[attr-defined]


def test_an_attention_back_end(deep: ModelSpec) -> None:
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    _, plain = loaded(deep)
    _, chosen = loaded(deep, attention="_native_math")
    processor = chosen.transformer.transformer_blocks[0].attn1.processor  # type: ignore[attr-defined]
    assert processor._attention_backend == "_native_math"
    assert _AttentionBackendRegistry.get_active_backend()[0] == "native"  # that of other models
    np.testing.assert_allclose(video(chosen), video(plain), atol=1e-3)


def test_repeated_blocks_are_compiled(deep: ModelSpec) -> None:
    _, pipeline = loaded(deep, compile="default")
    blocks = pipeline.transformer.transformer_blocks  # type: ignore[attr-defined]
    assert all(block._compiled_call_impl is not None for block in blocks)
    assert pipeline.transformer._compiled_call_impl is None  # type: ignore[attr-defined]  # its hooks stop the job


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "quanto_int8"}, "needs the Python package optimum-quanto, which is not installed"),
        ({"quantization": "bitsandbytes_4bit"}, "needs the Python package bitsandbytes, which is not installed"),
        ({"quantization": "torchao_int8"}, "needs the Python package torchao, which is not installed"),
        ({"attention": "flash"}, "option attention: LTXVideoTransformer3DModel refuses it: "),
        ({"attention": "xformers"}, "option attention: LTXVideoTransformer3DModel refuses it: "),
        ({"attention": "_native_cudnn"}, "option attention: _native_cudnn does not run on cpu with float32: No viable"),
    ],
)
def test_what_cannot_be_done_is_named(deep: ModelSpec, options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelLoadFailed, match=message):
        loaded(deep, **options)


def test_a_model_without_the_part_an_option_needs(spec: ModelSpec) -> None:
    with pytest.raises(ModelLoadFailed, match="option step_cache: UNet2DConditionModel has no enable_cache"):
        loaded(spec, step_cache={"method": "first_block"})
    draft = replace(spec, quality={"draft": {"step_cache": {"method": "first_block"}}})
    with pytest.raises(ModelLoadFailed, match="option step_cache: UNet2DConditionModel has no enable_cache"):
        loaded(draft)


def test_offload_is_nothing_on_a_cpu(deep: ModelSpec) -> None:
    cache, pipeline = loaded(deep, offload="group")
    assert places(cache) == {deep.name: "device"}
    assert np.isfinite(video(pipeline)).all()


def test_the_garbage_collector_is_on_after_the_import_and_leaves_the_libraries_alone() -> None:
    gc.unfreeze()
    gc.enable()
    import_libraries()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 100_000
