"""What Flower's pages show of a job, with prompts and without, and when Flower needs a login."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import BadSetting, JobNotFound, Unavailable
from jobs.models.spec import Kind
from jobs.record import Job, Output
from jobs.requests.custom import EndpointRequest
from jobs.requests.generation import GenerationRequest
from jobs.states import JobState
from tasks import flower_pages
from tasks.flower import check_login
from tasks.flower_pages import arguments_text, more_text, result_text

SECRETS = ("lighthouse", "fog", "fox", "note", "hidden")
REQUEST = GenerationRequest(
    model="film", kind=Kind.TEXT2VIDEO, prompt="a lighthouse", negative_prompt="fog", seed=0, steps=20,
    guidance_scale=5.0, width=832, height=480, frames=81, fps=16.0, scheduler="Euler",
    mix=[{"text": "a fox", "weight": 0.5}], prior={"steps": 5, "negative_prompt": "fog"},
    passthrough={"note": "hidden"},
)  # fmt: skip
CUSTOM = EndpointRequest.of("draw", "draw", {"prompt": "a lighthouse", "note": "hidden", "seed": 7}, {})


def job(request: GenerationRequest = REQUEST, **fields: Any) -> Job:
    return Job(job_id="j1", request=request, **{"state": JobState.QUEUED, "created_at_ms": 1, "steps": 20, **fields})


def test_numbers_and_names_are_shown_and_texts_of_callers_are_not() -> None:
    assert arguments_text(job()) == "text2video, film, 832×480, 81 frames, 20 steps"
    more = ["seed=0", "guidance_scale=5.0", "fps=16.0", "scheduler=Euler", "prior={'steps': 5}"]
    assert sorted(more_text(job(), prompts=False).split(", ")) == sorted(more)
    assert arguments_text(job(CUSTOM)) == "custom, draw"
    assert more_text(job(CUSTOM), prompts=False) == "endpoint=draw, params={'seed': 7}"
    for request in (REQUEST, CUSTOM):
        shown = arguments_text(job(request)) + more_text(job(request), prompts=False)
        assert [word for word in SECRETS if word in shown] == []


def test_prompts_are_shown_if_the_setting_says_so() -> None:
    shown = more_text(job(), prompts=True)
    assert "prompt='a lighthouse', negative_prompt='fog'" in shown
    assert "a fox" in shown
    assert "hidden" not in shown  # nobody is shown what only a back end understands


def test_what_came_of_a_job_is_one_line() -> None:
    output = Output("outputs/j1/1.1/0.mp4", "video/mp4", 2_500_000, "0" * 64, 832, 480, 81, 16.0)
    assert result_text(job(state=JobState.SUCCEEDED, outputs=[output])) == (
        "video/mp4 832×480, 81 frames, 2.38 MiB at /v1/jobs/j1/result?index=0"
    )
    assert result_text(job(state=JobState.SUCCEEDED, outputs=[output], removed_at_ms=1)) == "removed"
    assert result_text(job(state=JobState.SUCCEEDED)) == "no outputs"
    assert result_text(job(state=JobState.FAILED, error={"code": "out_of_memory", "message": "too large"})) == (
        "out_of_memory: too large"
    )
    assert result_text(job(state=JobState.RUNNING, stage="denoising", step=3)) == "denoising, step 3 of 20"
    assert result_text(job()) == "queued"


class Records:
    """Records that cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error, self.asked = error, 0

    def get(self, job_id: str) -> Job:
        self.asked += 1
        raise self.error


def test_a_page_is_not_delayed_by_a_store_that_does_not_answer() -> None:
    records = Records(Unavailable("the job store does not answer"))
    show = flower_pages.formatter(records, prompts=False)  # type: ignore[arg-type]
    tasks = [show(SimpleNamespace(uuid=f"j{number}", name="tasks.generate", args="('j', 1)")) for number in range(100)]
    assert ({task.args for task in tasks}, records.asked) == ({"('j', 1)"}, 1)


def test_a_task_without_a_record_is_shown_as_it_is_and_a_delivery_names_its_job() -> None:
    show = flower_pages.formatter(Records(JobNotFound()), prompts=False)  # type: ignore[arg-type]
    assert show(SimpleNamespace(uuid="j1", name="tasks.generate", args="('j1', 1)")).args == "('j1', 1)"
    assert show(SimpleNamespace(uuid="d", name="tasks.deliver", args="('j1', 1)")).args == "files of job j1"
    assert show(SimpleNamespace(uuid="d", name="tasks.deliver", args=None)).args is None


def options(**given: Any) -> SimpleNamespace:
    """Return options of Flower."""
    unset = {"address": "", "unix_socket": "", "url_prefix": None, "basic_auth": None, "auth": ""}
    return SimpleNamespace(**{**unset, **given})


@pytest.mark.parametrize(
    "given",
    [
        {"address": "127.0.0.1"}, {"address": "127.9.9.9"}, {"address": "::1"}, {"address": "localhost"},
        {"unix_socket": "/run/flower"}, {"basic_auth": ["anna:secret"]}, {"auth": ".*@example[.]org"},
        {"basic_auth": ["anna:secret"], "url_prefix": "flower", "address": "0.0.0.0"},
    ],
)  # fmt: skip
def test_a_login_is_not_needed_on_this_host_alone(given: dict[str, Any]) -> None:
    check_login(options(**given))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "Flower would serve all addresses without a login"),
        ({"address": "0.0.0.0"}, "Flower would serve 0.0.0.0 without a login"),
        ({"address": "flower.example.org"}, "Flower would serve flower.example.org without a login"),
        ({"address": "127.0.0.1", "url_prefix": "flower"}, "Flower has FLOWER_URL_PREFIX, as behind a proxy"),
    ],
)
def test_others_need_a_login(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadSetting, match=f"{reason}.*set FLOWER_BASIC_AUTH=user:password"):
        check_login(options(**given))
