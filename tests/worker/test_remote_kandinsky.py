"""Kandinsky servers as back ends, and their bodies."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stack.test_lightx2v import png
from tests.support.blocking_fleet import TOKEN, Fleet, await_slot
from tests.support.fake_kandinsky import FakeKandinsky
from tests.support.harness import Stack

SMALL = {"model": "kandinsky", "width": 64, "height": 32, "steps": 4}


@pytest.fixture
def fleet(start: Callable[..., Stack], tmp_path: Path) -> Iterator[Fleet]:
    found = Fleet(start, tmp_path)
    yield found
    found.close()


def test_a_job_runs_there_with_the_token(fleet: Fleet) -> None:
    fake = FakeKandinsky()
    stack = fleet("io", kandinsky_1=fake)
    prior = {"steps": 7, "guidance_scale": 2.0, "negative_prompt": "mud"}
    job_id = stack.submit(**SMALL, prompt="a cat", negative_prompt="fog", output_format="jpeg", prior=prior)
    view = stack.wait(job_id)
    assert (view["state"], view["slot"]) == ("succeeded", "kandinsky-1"), view
    [output] = view["outputs"]
    assert (output["media_type"], output["width"], output["height"]) == ("image/jpeg", 64, 32)
    [body] = fake.bodies
    assert body == {
        "prompt": "a cat", "negative_decoder_prompt": "fog", "steps": 4, "guidance_scale": 4, "width": 64, "height": 32,
        "prior_steps": "7", "prior_cf_scale": 2.0, "negative_prior_prompt": "mud",
    }  # fmt: skip
    for headers in fake.headers:
        assert (headers["authorization"], headers["ngrok-skip-browser-warning"]) == (TOKEN, "1")


def test_a_mix_has_its_order(fleet: Fleet) -> None:
    fake = FakeKandinsky()
    stack = fleet("io", kandinsky_1=fake)
    one, two = png("red"), png("blue")
    images: list[dict[str, Any]] = [{"image": base64.b64encode(image).decode(), "weight": 0.5} for image in (one, two)]
    view = stack.wait(stack.submit(**SMALL, kind="mix2img", prompt=None, mix=[{"text": "cat"}, *images]))
    assert view["state"] == "succeeded", view["error"]
    [body] = fake.bodies
    assert (body["images_texts"][0], body["images_texts"][3]) == ("cat", "")
    assert [base64.b64decode(image) for image in body["images_texts"][1:3]] == [one, two]
    assert body["weights"] == [1.0, 0.5, 0.5, 0.0]
    for mix in ([images[0]], [images[0], {"text": "cat"}, images[1]], [{"text": "cat"}]):
        refused = stack.post(**SMALL, kind="mix2img", mix=mix)
        assert (refused.status_code, refused.json()["error"]["fields"][0]["field"]) == (422, "mix")
    assert len(fake.bodies) == 1


WRONG = {"JSON": b'{"detail":"Not Found"}', "half a picture": png("red")[:60]}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_answer_is_no_output(fleet: Fleet, what: str) -> None:
    fake = FakeKandinsky()
    fake.result = WRONG[what]
    stack = fleet("io", kandinsky_1=fake)
    view = stack.wait(stack.submit(**SMALL))
    assert (view["state"], view["attempt"], len(fake.bodies)) == ("failed", 3, 3)
    assert "kandinsky-1" in view["error"]["message"]
    fake.result = None
    assert stack.wait(stack.submit(**SMALL))["state"] == "succeeded"


def test_a_wrong_token_ends_the_job_and_says_so(fleet: Fleet) -> None:
    fake = FakeKandinsky(token="another")
    stack = fleet("io", kandinsky_1=fake)
    view = stack.wait(stack.submit(**SMALL))
    assert (view["state"], view["attempt"]) == ("failed", 3)
    assert "credentials_env" in view["error"]["message"]
    assert fake.bodies == []


def test_one_that_dies_in_the_middle_runs_its_job_when_it_is_back(fleet: Fleet) -> None:
    fake = FakeKandinsky()
    fake.endless = True
    stack = fleet("io", kandinsky_1=fake)
    job_id = stack.submit(**SMALL)
    stack.wait_until(job_id, lambda view: view["state"] == "running" and fake.bodies, "its run")
    fake.stop()
    stack.wait_until(job_id, lambda view: view["state"] == "queued", "its place in the queue")
    assert "kandinsky-1 " in await_slot(stack, "kandinsky-1", "waiting")["waiting_for"]
    fake.endless = False
    fake.start()
    view = stack.wait(job_id)
    assert (view["state"], view["attempt"]) == ("succeeded", 2)
    # A server that does not respond at all had not begun the job.
    fake.endless = True
    waiting = stack.submit(**SMALL)
    stack.wait_until(waiting, lambda view: view["state"] == "running" and len(fake.bodies) == 3, "its run")
    stack.cancel(waiting)
    fake.endless = False
    assert stack.wait(stack.submit(**SMALL))["state"] == "succeeded"
