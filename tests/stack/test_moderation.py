"""Moderation over the whole stack: refused prompts, blocked and blurred outputs, checks of one's own, who may skip."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

import framemill
from framemill.errors import ApiError
from jobs import moderation
from jobs.callers import ANYBODY, Caller
from jobs.errors import BadSetting, ModerationRefused, Unavailable
from jobs.settings import PROJECT_ROOT, Settings
from tests.support.harness import Stack
from tests.support.room import request as a_request
from workers.delivery.moderation import blur, skin_share

LIST = """
# comments and empty lines do not count

badword
Señor Evil
ugly
"""
#: What a person would call skin, from light to dark, and what nobody would.
SKIN = [(255, 219, 172), (224, 172, 105), (198, 134, 66), (141, 85, 36)]
OTHER = [(0, 0, 255), (0, 160, 0), (255, 255, 255), (0, 0, 0), (128, 128, 128), (255, 255, 0), (128, 0, 128)]


@pytest.fixture
def words_file(short_folder: Path) -> Path:
    path = short_folder / "words.txt"
    path.write_text(LIST, encoding="utf-8")
    return path


# ---- prompts


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


def test_a_refused_prompt_is_never_queued_and_the_answer_does_not_tell_the_list(
    start: Callable[..., Stack], words_file: Path
) -> None:
    stack = start(MODERATION="block", MODERATION_WORDS_FILE=words_file)
    answer = stack.post(model="tiny-image", prompt="a B4DWORD in the sun")
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], [field["field"] for field in error["fields"]]) == ("moderation_refused", ["prompt"])
    assert "badword" not in answer.text.lower()
    assert "evil" not in answer.text.lower()
    assert stack.get("/v1/jobs?limit=1").json()["total"] == 0
    assert stack.post(model="tiny-image", prompt="a red circle", negative_prompt="badword").status_code == 201
    with framemill.Client(stack.url("")) as ops:  # everybody is the operator of a server without keys
        ops.submit(model="tiny-image", prompt="badword", moderate=False)
        ops.create_key("ops", role="admin")
    assert stack.post(model="tiny-image").status_code == 401


def test_only_who_may_turns_it_off(start: Callable[..., Stack], words_file: Path) -> None:
    stack = start(MODERATION="block", MODERATION_WORDS_FILE=words_file)
    with framemill.Client(stack.url("")) as client:
        admin = client.create_key("ops", role="admin").secret
    with framemill.Client(stack.url(""), admin) as ops:
        plain = ops.create_key("plain").secret
        trusted = ops.create_key("trusted", may_skip_moderation=True)
        assert {key.service: key.may_skip_moderation for key in list(ops.keys())} == {
            "ops": False, "plain": False, "trusted": True,
        }  # fmt: skip
    for secret, allowed in ((plain, False), (trusted.secret, True), (admin, True)):
        with framemill.Client(stack.url(""), secret) as client:
            for moderate, code in ((None, "moderation_refused"), (True, "moderation_refused"), (False, "forbidden")):
                if moderate is False and allowed:
                    client.submit(model="tiny-image", prompt="badword", moderate=False)
                    continue
                with pytest.raises(ApiError) as refused:
                    client.submit(model="tiny-image", prompt="badword", moderate=moderate)
                assert refused.value.code == code


def test_a_server_that_does_not_moderate_does_not_pretend_to(stack: Stack) -> None:
    answer = stack.post(model="tiny-image", moderate=True)
    assert (answer.status_code, answer.json()["error"]["fields"][0]["field"]) == (422, "moderate")
    assert stack.post(model="tiny-image", moderate=False, steps=1).status_code == 201
    assert stack.post(model="tiny-image", moderate="perhaps").json()["error"]["fields"][0]["field"] == "moderate"
    assert moderation.applies(None, Caller(key_id="a"), Settings())
    assert not moderation.hides_outputs(Settings(), moderate=True)


# ---- outputs

#: Refuses everything, so that the tests need no picture of anything.
PLUGIN = """
def refuses(frames, request, settings):
    assert frames.dtype == "uint8" and frames.ndim == 4 and frames.shape[3] == 3, frames.shape
    return "circle" in request.prompt

def breaks(*arguments):
    raise RuntimeError("the service for this is away")

def prompts(request, settings):
    return ["negative_prompt"] if request.negative_prompt == "no" else []
"""


@pytest.fixture
def plugged(start: Callable[..., Stack], short_folder: Path) -> Callable[..., Stack]:
    """``plugged(SETTING=value)``: a stack whose processes can import the module ``plugin``."""

    def run(*workers: str, **options: Any) -> Stack:
        (short_folder / "plugin.py").write_text(PLUGIN)
        path = os.pathsep.join([str(short_folder), os.environ.get("PYTHONPATH", "")])
        return start(*workers, **{"MODERATION_PROMPTS": "none", "PYTHONPATH": path, **options})

    return run


def stored(stack: Stack) -> list[Path]:
    return [path for path in (stack.folder / "objects").rglob("*") if path.is_file() and "outputs" in path.parts]


def test_blocked_outputs_are_never_stored(plugged: Callable[..., Stack]) -> None:
    stack = plugged("gpu0", "io", MODERATION="block", MODERATION_OUTPUTS="plugin:refuses")
    job_id = stack.submit(prompt="a circle", steps=1)
    status = stack.wait(job_id)
    assert (status["state"], status["error"]["code"]) == ("failed", "moderation_refused")
    assert (status["outputs"], stored(stack)) == ([], [])
    assert not list((stack.folder / "spool").glob(f"{job_id}*"))
    assert stack.get(f"/v1/jobs/{job_id}/result").status_code == 409
    passed = stack.wait(stack.submit(prompt="a square", steps=1))
    assert [output["moderated"] for output in passed["outputs"]] == [False]
    skipped = stack.wait(stack.submit(prompt="a circle", steps=1, moderate=False))
    assert [output["moderated"] for output in skipped["outputs"]] == [False]


def test_blurred_outputs_say_so_and_show_nothing(plugged: Callable[..., Stack]) -> None:
    stack = plugged("gpu0", "io", MODERATION="blur", MODERATION_OUTPUTS="plugin:refuses")
    sharp = stack.wait(stack.submit(prompt="a circle", steps=1, seed=1, width=96, height=64, moderate=False))
    blurred = stack.wait(stack.submit(prompt="a circle", steps=1, seed=1, width=96, height=64))
    assert [output["moderated"] for output in blurred["outputs"]] == [True]
    pictures = [
        np.asarray(Image.open(io.BytesIO(stack.get(f"/v1/jobs/{status['id']}/result").content)), dtype=float)
        for status in (sharp, blurred)
    ]
    assert pictures[0].shape == pictures[1].shape == (64, 96, 3)
    assert detail(pictures[1]) < detail(pictures[0]) / 5
    video = stack.wait(stack.submit(prompt="a circle", steps=1, model="tiny-video"))
    assert [output["moderated"] for output in video["outputs"]] == [True]


def detail(picture: np.ndarray) -> float:
    """Mean difference of neighbours."""
    return float(np.abs(np.diff(picture, axis=1)).mean())


def test_a_check_of_outputs_that_breaks_lets_nothing_pass(plugged: Callable[..., Stack]) -> None:
    stack = plugged("gpu0", "io", MODERATION="blur", MODERATION_OUTPUTS="plugin:breaks")
    job_id = stack.submit(prompt="a square", steps=1)
    # Tried again later, as every delivery that fails; the tries are counted in the record.
    stack.wait_until(job_id, lambda _: "delivery failed" in stack.log("io"), "the first failure")
    assert stack.status(job_id)["state"] == "delivering"
    assert stored(stack) == []


def test_a_check_of_prompts_that_breaks_lets_nothing_in(plugged: Callable[..., Stack]) -> None:
    stack = plugged(MODERATION="block", MODERATION_OUTPUTS="none", MODERATION_PROMPTS="plugin:breaks")
    answer = stack.post(model="tiny-image", prompt="a square")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "away" not in answer.text


def test_a_check_of_ones_own_names_the_field(plugged: Callable[..., Stack]) -> None:
    stack = plugged(MODERATION="block", MODERATION_OUTPUTS="none", MODERATION_PROMPTS="plugin:prompts")
    error = stack.post(model="tiny-image", negative_prompt="no").json()["error"]
    assert (error["code"], error["fields"][0]["field"]) == ("moderation_refused", "negative_prompt")
    image = "data:image/png;base64,iVBORw0KGgo="
    assert requests.post(stack.url("/v1/jobs"), json={"image": image}, timeout=10).status_code == 422


# ---- the checks that come with it


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


# ---- at the start


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


def test_a_delivery_worker_without_its_check_does_not_start(models_file: Path, short_folder: Path) -> None:
    environment = {**os.environ, "MODERATION": "block", "MODERATION_OUTPUTS": "no:check", "DATA_DIR": str(short_folder)}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", "io"]
    ended = subprocess.run(command, cwd=PROJECT_ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert ended.returncode != 0
    assert "MODERATION_OUTPUTS" in ended.stderr + ended.stdout


def test_a_check_of_prompts_that_raises_is_an_unavailable_service() -> None:
    settings = Settings.of(moderation="block", moderation_prompts="math:sqrt")
    with pytest.raises(Unavailable):
        moderation.check_prompts(a_request("m", 1), settings, moderate=True)
    moderation.check_prompts(a_request("m", 1), settings, moderate=False)
    assert not moderation.applies(False, ANYBODY, settings)
    assert moderation.hides_outputs(settings, moderate=True)
    assert not moderation.hides_outputs(settings, moderate=False)
