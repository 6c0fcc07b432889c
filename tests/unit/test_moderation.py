"""Checks of prompts and outputs: words, skin colours, blurring, and settings that cannot be used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs import moderation
from jobs.callers import ANYBODY, Caller
from jobs.errors import BadSetting, ModerationRefused, Unavailable
from jobs.settings import Settings
from tests.support.store_driver import request as a_request
from workers.delivery.moderation import blur, skin_share

LIST = """
# comments and empty lines do not count

badword
Señor Evil
ugly
"""
#: Colours that a person would call skin, from light to dark, and colours that nobody would.
SKIN = [(255, 219, 172), (224, 172, 105), (198, 134, 66), (141, 85, 36)]
OTHER = [(0, 0, 255), (0, 160, 0), (255, 255, 255), (0, 0, 0), (128, 128, 128), (255, 255, 0), (128, 0, 128)]


@pytest.fixture
def words_file(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text(LIST, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "prompt",
    ["badword", "a BadWord, oil painting", "b4dw0rd", "B@DWORD!", "bädwörd", "bad\u00adword", "badw\u200bord",
     "ｂａｄｗｏｒｄ", "señor   evil", "SENOR-EVIL", "senor_evil", "ugly", "ug1y"],
)  # fmt: skip
def test_a_listed_word_is_found_however_it_is_written(words_file: Path, prompt: str) -> None:
    assert refused_fields(words_file, prompt) == ["prompt"]


@pytest.mark.parametrize(
    "prompt", ["", "a red circle", "badwords", "nobadword", "señor", "evil señor", "bad word", "u@ly"]
)
def test_other_words_are_not(words_file: Path, prompt: str) -> None:
    assert refused_fields(words_file, prompt) == []


def refused_fields(words_file: Path, prompt: str) -> list[str]:
    settings = Settings.of(moderation="block", moderation_words_file=str(words_file))
    try:
        moderation.check_prompts(replace(a_request("m", 1), prompt=prompt), settings, moderate=True)
    except ModerationRefused as exc:
        return [problem.field for problem in exc.problems]
    return []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "MODERATION_WORDS_FILE"),
        ({"moderation_words_file": "no/such/file"}, "cannot be read"),
        ({"moderation_prompts": "no.such.module:check"}, "MODERATION_PROMPTS"),
        ({"moderation_prompts": "jobs.moderation:missing"}, "MODERATION_PROMPTS"),
        ({"moderation_prompts": "jobs.moderation:NONE"}, "must name a function"),
        ({"moderation_prompts": "jobs.moderation"}, "MODERATION_PROMPTS"),
    ],
)
def test_a_check_that_cannot_be_used_stops_the_server_at_its_start(options: dict[str, str], reason: str) -> None:
    with pytest.raises(BadSetting, match=reason):
        moderation.verify(Settings.of(moderation="block", **options))  # type: ignore[arg-type]
    moderation.verify(Settings.of(moderation="off", **options))  # type: ignore[arg-type]


def test_a_check_of_prompts_that_raises_is_an_unavailable_service() -> None:
    settings = Settings.of(moderation="block", moderation_prompts="math:sqrt")
    with pytest.raises(Unavailable):
        moderation.check_prompts(a_request("m", 1), settings, moderate=True)
    moderation.check_prompts(a_request("m", 1), settings, moderate=False)
    assert not moderation.applies(False, ANYBODY, settings)
    assert moderation.hides_outputs(settings, moderate=True)
    assert not moderation.hides_outputs(settings, moderate=False)


def test_the_example_of_a_check_knows_skin_colours() -> None:
    for colour in SKIN:
        assert skin_share(np.full((8, 8, 3), colour, np.uint8)) == 1, colour
    for colour in OTHER:
        assert skin_share(np.full((8, 8, 3), colour, np.uint8)) == 0, colour
    half = np.concatenate([np.full((8, 8, 3), SKIN[0], np.uint8), np.zeros((8, 8, 3), np.uint8)])
    assert skin_share(half) == 0.5


def test_a_blurred_picture_keeps_its_size_and_its_mean() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (2, 50, 90, 3), np.uint8)
    soft = blur(clip)
    assert (soft.shape, soft.dtype) == (clip.shape, np.uint8)
    assert abs(soft.mean() - clip.mean()) < 3
    assert detail(soft[0].astype(float)) < 3 < detail(clip[0].astype(float))
    assert blur(clip[:, :1, :1]).shape == (2, 1, 1, 3)


def detail(picture: np.ndarray) -> float:
    """Return the mean difference of neighbouring pixels."""
    return float(np.abs(np.diff(picture, axis=1)).mean())


def test_a_server_that_does_not_moderate() -> None:
    assert moderation.applies(None, Caller(key_id="a"), Settings())
    assert not moderation.hides_outputs(Settings(), moderate=True)
