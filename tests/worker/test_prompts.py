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
    ("sdxl", "sdxl", "StableDiffusionXL", 'prompt_weighting = true\nloras = "loras"'),
    ("sdxl-plain", "sdxl", "StableDiffusionXL", ""),
    ("flux-plain", "flux", "Flux", ""),
    ("flux", "flux", "Flux", "prompt_weighting = true"),
]
#: Models that read as many tokens as their pipelines take unless told otherwise.
UNLIMITED = """
[wan]
source = "{0}/wan/t2v"
kinds = ["text2video"]
frames_step = 4
defaults = {{ steps = 1, width = 16, height = 16, frames = 1 }}
[ltx]
source = "{0}/ltx"
kinds = ["text2video"]
frames_step = 8
defaults = {{ steps = 1, width = 32, height = 32, frames = 1 }}
[flux2]
source = "{0}/flux2"
kinds = ["text2img"]
arguments = {{ text_encoder_out_layers = [1, 2] }}
defaults = {{ steps = 1, width = 16, height = 16 }}
"""
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
    tables = "".join(_table(families_file.parent, *family) for family in FAMILIES)
    (folder / "models.toml").write_text(tables + UNLIMITED.format(families_file.parent))
    _write_lora(families_file.parent / "sdxl", folder / "loras")
    yield Worker(StoreDriver(server), folder / "models.toml", folder)
    shutil.rmtree(folder, ignore_errors=True)


def _write_lora(sdxl: Path, folder: Path) -> None:
    """Write ``ink``, which changes the denoiser and both text encoders of SDXL."""
    import torch
    from diffusers import StableDiffusionXLPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(1)
    pipeline: Any = StableDiffusionXLPipeline.from_pretrained(sdxl, use_safetensors=True)
    layers = {}
    for name, targets in (("unet", ["to_q", "to_v"]), ("text_encoder", ["q_proj"]), ("text_encoder_2", ["q_proj"])):
        part = getattr(pipeline, name)
        part.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=targets))
        layers[f"{name}_lora_layers"] = get_peft_model_state_dict(part)
    pipeline.save_lora_weights(folder, weight_name="ink.safetensors", **layers)


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


def test_a_lora_in_a_weighted_prompt_of_two_encoders(worker: Worker) -> None:
    """The tag is taken out of the text and changes the embeddings too, because it changes both encoders."""
    plain, tagged, weak, named = (
        pictures(worker, "sdxl", text, **more)[0]
        for text, more in (
            ("a (cat:1.4) BREAK hat", {}), ("a (cat:1.4) BREAK hat<lora:ink:0.8>", {}),
            ("a (cat:1.4) BREAK hat<lora:ink:0.2>", {}),
            ("a (cat:1.4) BREAK hat", {"loras": [{"name": "ink", "weight": 0.8}]}),
        )
    )  # fmt: skip
    assert np.array_equal(tagged, named)
    assert not np.array_equal(tagged, plain)
    assert not np.array_equal(tagged, weak)
    assert np.array_equal(pictures(worker, "sdxl", "a (cat:1.4) BREAK hat")[0], plain)


@pytest.mark.parametrize(
    ("model", "kind", "kept"),
    # T5 ends each text with a token of its own, and puts a space before it.
    [("wan", "text2video", 511), ("ltx", "text2video", 127), ("flux2", "text2img", 512)],
)
def test_the_limit_is_that_of_the_pipeline(worker: Worker, model: str, kind: str, kept: int) -> None:
    pictures(worker, model, "x" * (kept if model == "flux2" else kept - 1), kind=kind)
    assert warnings(worker) == []
    pictures(worker, model, "x" * kept + "yz", kind=kind)
    [told] = warnings(worker)
    assert told.startswith(f"prompt is longer than the {kept} tokens that the model reads; cut off: ")
    assert told.endswith("yz")


def test_what_is_cut_off_of_a_text_in_a_template(worker: Worker) -> None:
    """As Qwen-Image and HunyuanVideo do it: the template counts as tokens, and is no part of what is told."""
    from types import SimpleNamespace

    from tests.support.tiny.text import clip_tokenizer, qwen_tokenizer
    from workers.prompts import cut

    class QwenImageLike:
        components: dict[str, Any]

        def __call__(self, prompt: str, max_sequence_length: int = 6) -> None: ...

    class HunyuanLike(QwenImageLike):
        pass

    def told_by(pipeline: Any, encode: Any, **texts: str) -> list[str]:
        told: list[str] = []
        request: Any = SimpleNamespace(**{"prompt": "", "negative_prompt": "", **texts})
        with cut.told(pipeline, request, {}, told.append):
            encode()
        return told

    tokenizer, clip = qwen_tokenizer(), clip_tokenizer()
    template = "[ab]{}[/ab]"
    qwen: Any = type("QwenImagePipeline", (QwenImageLike,), {})()
    qwen.components = {"tokenizer": tokenizer}

    def encode_qwen(*prompts: str) -> Any:
        return lambda: [tokenizer([template.format(one)], truncation=True, max_length=30) for one in prompts]

    assert told_by(qwen, encode_qwen("123456"), prompt="123456") == []
    assert told_by(qwen, encode_qwen("12345678", "no"), prompt="12345678", negative_prompt="no") == [
        "prompt is longer than the 6 tokens that the model reads; cut off: 78"
    ]
    assert told_by(qwen, encode_qwen("no", "bad-worse"), prompt="no", negative_prompt="bad-worse") == [
        "negative_prompt is longer than the 6 tokens that the model reads; cut off: rse"
    ]
    both: Any = HunyuanLike()
    both.components = {"tokenizer": tokenizer, "tokenizer_2": clip}

    def encode_both(prompt: str) -> Any:
        def encode() -> None:
            tokenizer([template.format(prompt)], truncation=True, max_length=30)
            clip([prompt], truncation=True, max_length=16)

        return encode

    long = "abcdefghijklmnopqrstuvw"  # more than CLIP reads
    assert told_by(both, encode_both(long), prompt=long) == []
    assert told_by(both, encode_both(long * 2), prompt=long * 2) == [
        "prompt is longer than the 26 tokens that the model reads; cut off: defghijklmnopqrstuvw"
    ]
    shortened = template.format(long * 2)[:30]  # as Kandinsky 5 does
    assert told_by(both, lambda: tokenizer([shortened], truncation=True, max_length=30), prompt=long * 2) == [
        "prompt is longer than the 26 tokens that the model reads; cut off: " + (long * 2)[26:]
    ]


def test_other_encoders_are_refused_when_the_model_is_loaded(worker: Worker) -> None:
    spec = worker.models.get("flux")
    with pytest.raises(ModelLoadFailed, match="option prompt_weighting: the text encoders of FluxPipeline are not"):
        worker.pipelines.get(spec, spec.kinds[0])


def test_tokenizers_are_as_before_after_each_run(worker: Worker) -> None:
    pictures(worker, "sd", "a (cat:1.5)")
    pipeline = worker.pipelines.get(worker.models.get("sd"), "text2img")  # type: ignore[arg-type]
    assert len(pipeline.tokenizer("cat").input_ids) == 5
    assert "__call__" not in vars(type(pipeline.tokenizer))
