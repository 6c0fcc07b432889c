"""Weighted and long prompts on real pipelines, whose tiny tokenizers take 14 characters in each chunk."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.errors import ModelLoadFailed
from jobs.settings import Settings
from tests.support.computing import Worker
from tests.support.store_driver import StoreDriver

#: The first test waits until all models are made.
pytestmark = pytest.mark.timeout(300)

FAMILIES = [
    ("sd", "sd", "StableDiffusion", 'prompt_weighting = true\nfields = { clip_skip = "clip_skip" }'),
    ("sd-plain", "sd", "StableDiffusion", ""),
    ("sdxl", "sdxl", "StableDiffusionXL", "prompt_weighting = true"),
    ("sdxl-plain", "sdxl", "StableDiffusionXL", ""),
    ("flux-plain", "flux", "Flux", ""),
    ("flux", "flux", "Flux", "prompt_weighting = true"),
]
LONG, LONGER = "a cat on a mat with a hat", "a cat on a mat with a bat"
WEIGHTED = pytest.mark.parametrize("model", ["sd", "sdxl"])


def _table(folder: Path, name: str, source: str, class_name: str, more: str) -> str:
    return (
        f'[{name}]\nsource = "{folder}/{source}"\nkinds = ["text2img", "img2img"]\n'
        f'pipelines = {{ img2img = "{class_name}Img2ImgPipeline" }}\n'
        f"defaults = {{ steps = 3, width = 32, height = 32, strength = 0.7 }}\n{more}\n"
    )


@pytest.fixture(scope="module")
def worker(server: Settings, families_file: Path) -> Iterator[Worker]:
    folder = Path(tempfile.mkdtemp(prefix="fm-"))
    (folder / "models.toml").write_text("".join(_table(families_file.parent, *family) for family in FAMILIES))
    yield Worker(StoreDriver(server), folder / "models.toml", folder)
    shutil.rmtree(folder, ignore_errors=True)


def pictures(worker: Worker, model: str, *prompts: str, **fields: Any) -> list[np.ndarray]:
    return [worker.compute(model, kind=fields.pop("kind", "text2img"), prompt=one, **fields) for one in prompts]


def warnings(worker: Worker) -> list[str]:
    return worker.driver.store.get(worker.reporter.job_id).run_warnings


@WEIGHTED
def test_weights_change_the_picture_and_none_keep_it(worker: Worker, model: str) -> None:
    [plain] = pictures(worker, f"{model}-plain", "a cat")
    same, one, more, less, nested, long = pictures(
        worker, model, "a cat", "a (cat:1)", "a (cat:1.4)", "a [cat]", "a ((cat:1.2):1.2)", "a (cat:1.44)"
    )
    assert np.array_equal(same, plain)
    assert np.array_equal(one, plain)
    assert not np.array_equal(more, plain)
    assert not np.array_equal(less, plain)
    assert np.abs(nested.astype(int) - long).max() <= 1  # 1.2 × 1.2


@WEIGHTED
def test_the_negative_prompt_has_weights_too(worker: Worker, model: str) -> None:
    first, second, third = (
        pictures(worker, model, "a cat", negative_prompt=text)[0] for text in ("dog", "(dog:1.5)", "dog BREAK hat")
    )
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, third)


@WEIGHTED
def test_all_of_a_long_prompt_counts(worker: Worker, model: str) -> None:
    one, other = pictures(worker, model, LONG, LONGER)
    assert not np.array_equal(one, other)
    assert warnings(worker) == []
    one, other = pictures(worker, f"{model}-plain", LONG, LONGER)
    assert np.array_equal(one, other)


@WEIGHTED
def test_chunks_are_those_of_the_library(worker: Worker, model: str) -> None:
    """The embedding of two chunks is that of their two texts, as the pipeline embeds them."""
    import torch

    from workers.prompts.embeddings import weighted

    pipeline = worker.pipelines.get(worker.models.get(model), "text2img")  # type: ignore[arg-type]
    with torch.inference_mode():
        call = weighted(pipeline, {"prompt": "abcdefgh BREAK ij", "other": 1})
        whole = [pipeline.encode_prompt(text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
                 for text in ("abcdefgh", "ij")]  # fmt: skip
        expected = torch.cat([one[0] for one in whole], dim=1)
    assert torch.equal(call["prompt_embeds"], expected)
    assert call["negative_prompt_embeds"].shape == expected.shape
    assert call["other"] == 1
    assert "prompt" not in call
    if model == "sdxl":
        assert torch.equal(call["pooled_prompt_embeds"], whole[0][2])


@WEIGHTED
def test_the_second_pass_and_pictures_have_them_too(worker: Worker, model: str) -> None:
    hires = {"width": 48, "height": 48, "strength": 0.7}
    for fields in ({"hires": hires}, {"kind": "img2img"}, {"num_images": 2}):
        plain, more = (pictures(worker, model, text, **fields)[0] for text in ("a cat", "a (cat:1.5)"))
        assert plain.shape == more.shape
        assert not np.array_equal(plain, more)


def test_clip_skip_applies_to_weighted_prompts(worker: Worker) -> None:
    none, one = (pictures(worker, "sd", "a (cat:1.5)", clip_skip=skipped)[0] for skipped in (0, 1))
    assert not np.array_equal(none, one)


@pytest.mark.parametrize("model", ["sd-plain", "sdxl-plain"])
def test_what_is_cut_off_is_told(worker: Worker, model: str) -> None:
    pictures(worker, model, LONG, negative_prompt="ugly, drawn badly, dull")
    told = warnings(worker)
    assert len(told) == 2
    assert told[0].startswith("prompt is longer than the 14 tokens that the model reads; cut off: ")
    assert told[1].startswith("negative_prompt is longer than the 14 tokens")
    pictures(worker, model, "a cat")
    assert warnings(worker) == []


def test_a_text_that_one_encoder_reads_whole_is_not_cut_off(worker: Worker) -> None:
    pictures(worker, "flux-plain", LONG)
    assert warnings(worker) == []
    pictures(worker, "flux-plain", "cat " * 300)
    assert len(warnings(worker)) == 1


def test_other_encoders_are_refused_when_the_model_is_loaded(worker: Worker) -> None:
    spec = worker.models.get("flux")
    with pytest.raises(ModelLoadFailed, match="option prompt_weighting: the text encoders of FluxPipeline are not"):
        worker.pipelines.get(spec, spec.kinds[0])


def test_tokenizers_are_as_before_after_each_run(worker: Worker) -> None:
    pictures(worker, "sd", "a (cat:1.5)")
    pipeline = worker.pipelines.get(worker.models.get("sd"), "text2img")  # type: ignore[arg-type]
    assert len(pipeline.tokenizer("cat").input_ids) == 5
    assert "__call__" not in vars(type(pipeline.tokenizer))
