"""Prompts that moderation refuses, checks that operators add, and callers who may skip moderation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.service import Service, key

LIST = """
badword
Señor Evil
"""
#: A module with checks of prompts.
PLUGIN = """
def breaks(*arguments):
    raise RuntimeError("the service for this is away")

def prompts(request, settings):
    return ["negative_prompt"] if request.negative_prompt == "no" else []
"""


@pytest.fixture
def moderated(services: Callable[..., Service], tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A server with a list of words."""
    words_file = tmp_path_factory.mktemp("words") / "words.txt"
    words_file.write_text(LIST, encoding="utf-8")
    return services(MODERATION="block", MODERATION_WORDS_FILE=words_file)


@pytest.fixture
def plugged(
    services: Callable[..., Service], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Service]:
    """``plugged("breaks")``: return a server that checks prompts with this function of the module above."""
    (tmp_path / "framemill_test_plugin.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda name: services(
        MODERATION="block", MODERATION_OUTPUTS="none", MODERATION_PROMPTS=f"framemill_test_plugin:{name}"
    )


def test_a_refused_prompt_is_never_queued_and_the_answer_does_not_tell_the_list(moderated: Service) -> None:
    answer = moderated.post("/v1/jobs", json={"model": "tiny-image", "prompt": "a B4DWORD in the sun"})
    assert answer.status_code == 422
    error = answer.get_json()["error"]
    assert (error["code"], [field["field"] for field in error["fields"]]) == ("moderation_refused", ["prompt"])
    assert "badword" not in answer.text.lower()
    assert "evil" not in answer.text.lower()
    assert moderated.json("/v1/jobs")["total"] == 0
    moderated.submit(prompt="a red circle", negative_prompt="badword")
    moderated.submit(prompt="badword", moderate=False)  # on a server without keys, everybody is an admin


def test_only_who_may_turns_it_off(moderated: Service) -> None:
    admin = key(moderated, "ops", role="admin")
    plain = key(moderated, "plain", admin=admin)
    trusted = key(moderated, "trusted", admin=admin, may_skip_moderation=True)
    listed = moderated.json("/v1/admin/keys", headers=admin)["keys"]
    assert {one["service"]: one["may_skip_moderation"] for one in listed} == {
        "ops": False, "plain": False, "trusted": True,
    }  # fmt: skip
    for headers, allowed in ((plain, False), (trusted, True), (admin, True)):
        for moderate, code in ((None, "moderation_refused"), (True, "moderation_refused"), (False, "forbidden")):
            if moderate is False and allowed:
                moderated.submit(headers, prompt="badword", moderate=False)
                continue
            refused = moderated.post("/v1/jobs", json={"prompt": "badword", "moderate": moderate}, headers=headers)
            assert refused.get_json()["error"]["code"] == code


def test_a_server_that_does_not_moderate_does_not_pretend_to(service: Service) -> None:
    for moderate in (True, "perhaps"):
        answer = service.post("/v1/jobs", json={"model": "tiny-image", "prompt": "x", "moderate": moderate})
        assert (answer.status_code, answer.get_json()["error"]["fields"][0]["field"]) == (422, "moderate")
    service.submit(moderate=False)


def test_a_check_of_prompts_that_breaks_lets_nothing_in(plugged: Callable[[str], Service]) -> None:
    answer = plugged("breaks").post("/v1/jobs", json={"model": "tiny-image", "prompt": "a square"})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (503, "unavailable")
    assert "away" not in answer.text


def test_a_check_that_the_operator_adds_names_the_field(plugged: Callable[[str], Service]) -> None:
    service = plugged("prompts")
    fields = {"model": "tiny-image", "prompt": "x", "negative_prompt": "no"}
    error = service.post("/v1/jobs", json=fields).get_json()["error"]
    assert (error["code"], error["fields"][0]["field"]) == ("moderation_refused", "negative_prompt")
    image = "data:image/png;base64,iVBORw0KGgo="
    assert service.post("/v1/jobs", json={"image": image}).status_code == 422
