"""The text about how a picture was made: written, read back, and read from files of unknown origin."""

from __future__ import annotations

import pytest

from jobs.models.spec import Kind
from jobs.requests import infotext
from jobs.requests.generation import GenerationRequest

REQUEST = GenerationRequest(
    model="sd: one, two", kind=Kind.IMG2IMG, prompt="a cat,\nsitting: still", negative_prompt="dog\nfrog", seed=5,
    steps=20, guidance_scale=7.5, width=512, height=768, strength=0.5, scheduler="DPM++ 2M Karras",
)  # fmt: skip


def test_what_is_written_is_read_back() -> None:
    text = infotext.write(REQUEST.to_dict() | {"frames": 1, "fps": 0.0})
    assert text.splitlines()[-1].startswith(
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 5"
    )
    assert infotext.parse(text) == {
        "Prompt": "a cat,\nsitting: still", "Negative prompt": "dog\nfrog", "Steps": "20", "Sampler": "DPM++ 2M",
        "Schedule type": "Karras", "CFG scale": "7.5", "Seed": "5", "Size-1": "512", "Size-2": "768",
        "Model": "sd: one, two", "Denoising strength": "0.5", "Version": "framemill",
    }  # fmt: skip


def test_a_text_without_parameters_is_a_prompt() -> None:
    assert infotext.parse("a cat, sitting: still") == {"Prompt": "a cat, sitting: still", "Negative prompt": ""}
    assert infotext.parse("a\nNegative prompt: b\nc") == {"Prompt": "a", "Negative prompt": "b\nc"}


@pytest.mark.parametrize("text", ["", " \n", "a" * (infotext.MAX_CHARS + 1)])
def test_what_is_no_text_says_nothing(text: str) -> None:
    assert infotext.parse(text) == {}


@pytest.mark.parametrize("part", ["a", " ", "a: ", 'a: "', "\\", 'a: "\\', "a b/c-", ","])
def test_hostile_texts_take_no_time(part: str) -> None:
    text = part * (infotext.MAX_CHARS // len(part))
    assert len(infotext.parse(text)) < infotext.MAX_CHARS
