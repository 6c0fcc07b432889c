"""Which name was meant: misspellings are told from names of their own, and long lists are shortened."""

from __future__ import annotations

import pytest

from jobs.suggestions import listed, misspelt

FIELDS = ("id", "fps", "kind", "seed", "mask", "image", "steps", "width", "model", "prompt", "negative_prompt", "loras")
#: Fields of clients of other servers, and words of everyday.
OTHERS = (
    "num_inference_steps", "cfg_scale", "sampler_name", "sampler_index", "n_iter", "init_images", "num_frames", "size",
    "n", "user", "task", "style", "colour", "tags", "metadata", "quality", "ids", "name", "text", "response_format",
    "enable_hr", "batch_size", "subseed", "wait_for_result", "client_session_auth_key", "",
)  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_name_of_its_own_is_no_misspelling(name: str) -> None:
    assert misspelt(name, FIELDS) is None


@pytest.mark.parametrize(
    ("name", "meant"),
    [("promt", "prompt"), ("sed", "seed"), ("pormpt", "prompt"), ("PROMPT", "prompt"),
     ("negative-prompt", "negative_prompt"),
     ("negatvie_promt", "negative_prompt"), ("images", "image"), ("modle", "model"), ("x" * 100_000, None)],
)  # fmt: skip
def test_misspellings(name: str, meant: str | None) -> None:
    assert misspelt(name, FIELDS) == meant


def test_a_long_list_is_shortened_to_the_nearest() -> None:
    names = [f"style-{number}" for number in range(500)] + ["watercolour-v2", "water"]
    text = listed(names, "watercolor")
    assert text.startswith("watercolour-v2, water, ")
    assert text.endswith(" and 494 more")
    assert listed(["a", "b"], "x") == "a, b"
    assert len(text) < 200
