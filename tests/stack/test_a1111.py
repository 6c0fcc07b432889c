"""AUTOMATIC1111's API on real processes: real pipelines, web processes that die, clients that hang up and retry."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from jobs.store import keys
from jobs.store.held_requests import LONG_CLAIM_S
from tests.support.a1111_client import (
    BODY,
    ENDLESS,
    Impatient,
    Waiting,
    get,
    jobs,
    opened,
    pixels,
    post,
    raw,
    seeds,
    until_idle,
    until_running,
)
from tests.support.harness import PATIENCE_S, Stack, wait_for

CLIENTS, ROUNDS = 6, 4


def test_hires_fix_and_subseeds(stack: Stack) -> None:
    """The seed stays, the subseed increases over batches; the infotext of an image reproduces it."""
    sent = {**BODY, "n_iter": 2, "subseed": 50, "subseed_strength": 0.4, "enable_hr": True, "hr_resize_x": 48,
            "hr_resize_y": 64, "denoising_strength": 0.7, "hr_second_pass_steps": 2}  # fmt: skip
    body = post(stack, "txt2img", sent).json()
    info = json.loads(body["info"])
    assert (info["all_seeds"], info["all_subseeds"], info["subseed_strength"]) == ([7, 7], [50, 51], 0.4)
    assert (info["denoising_strength"], info["extra_generation_params"]) == (0.7, {})
    assert [opened(image).size for image in body["images"]] == [(48, 64)] * 2
    assert ", Variation seed: 51, Variation seed strength: 0.4, " in info["infotexts"][1]
    assert ", Hires resize: 48x64, Hires steps: 2, Hires upscaler: Lanczos" in info["infotexts"][1]
    again = post(stack, "txt2img", {"infotext": info["infotexts"][1]})
    assert pixels(again) == [opened(body["images"][1]).tobytes()]
    other = post(
        stack, "txt2img", {**BODY, "seed": 51, "enable_hr": True, **{n: sent[n] for n in sent if n[:3] == "hr_"}}
    )
    assert pixels(other) == pixels(post(stack, "txt2img", {**sent, "n_iter": 1, "subseed": 51, "subseed_strength": 1}))


@pytest.mark.parametrize("early", [False, True], ids=["taken over", "still claimed"])
def test_a_web_process_may_die_between_submit_and_answer(start: Callable[..., Stack], early: bool) -> None:
    stack = start("gpu0", "gpu1", "io", WEB_PROCESSES=2)
    body = {**ENDLESS, "n_iter": 2, "seed": -1}
    call = Waiting(stack, body)
    until_running(stack, 2)  # the batches run on both slots
    wait_for(lambda: claims_lapse_within(stack, 3), "the claim of a request that waits, not of one that is prepared")
    for pid in children(stack):
        os.kill(pid, signal.SIGKILL)
    call.broken()
    wait_for(lambda: answers(stack), "new web processes")
    wait_for(lambda: get(stack, "progress")["current_image"], "a preview")
    name, holder = held_request(stack)
    if early:  # as if it had died while it prepared the request, when claims last longest
        stack.store.client.hset(name, "until", int(1000 * (time.time() + LONG_CLAIM_S)))
    repeat = Waiting(stack, body)
    if early:
        wait_for(lambda: stack.store.client.hget(name, "asked") != "0", "the repeat to ask for the holder")
    else:
        wait_for(lambda: held_request(stack)[1] != holder, "the repeat to take the request over")
    assert len(jobs(stack)) == 2
    post(stack, "interrupt")
    answer = repeat.end()
    assert len(jobs(stack)) == 2
    first = min(job["request"]["seed"] for job in jobs(stack))
    assert seeds(answer)
    assert set(seeds(answer)) <= {first, first + 1}


def claims_lapse_within(stack: Stack, seconds: float) -> bool:
    redis = stack.store.client
    lapse = [int(str(redis.hget(name, "until"))) for name in redis.keys(f"{keys.HELD_REQUEST}*")]
    return all(at_ms < 1000 * (time.time() + seconds) for at_ms in lapse)


def held_request(stack: Stack) -> tuple[str, str]:
    """Return the key of the only held request, and who holds it."""
    [name] = stack.store.client.keys(f"{keys.HELD_REQUEST}*")
    return name, str(stack.store.client.hget(name, "holder"))


def children(stack: Stack) -> list[int]:
    parent = stack.processes["web"].pid
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def answers(stack: Stack) -> bool:
    try:
        return stack.get("/healthz").status_code == 200
    except requests.ConnectionError:
        return False


def test_no_answer_is_given_twice_and_none_is_lost(start: Callable[..., Stack]) -> None:
    stack = start("gpu0", "gpu1", "io", WEB_PROCESSES=2, TEST_MODE=1, NOOP_STEP_MS=30)
    body = {**BODY, "seed": -1, "steps": 10}
    taken: list[int] = []
    left = [0] * CLIENTS
    broken: list[BaseException] = []

    def work(number: int) -> None:
        chance = random.Random(number)
        try:
            for _ in range(ROUNDS):
                while chance.random() < 0.4:
                    client = Impatient(stack, body)
                    time.sleep(chance.random() / 2)
                    client.hang_up()
                    left[number] += 1
                taken.extend(seeds(raw(stack, body)))
        except BaseException as exc:
            broken.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert broken == []
    assert len(taken) == CLIENTS * ROUNDS
    assert len(set(taken)) == len(taken)
    until_idle(stack)
    assert len(taken) <= len(jobs(stack)) <= len(taken) + sum(left)
    # Images that nobody received are given to the next callers, each once.
    spare = {job["request"]["seed"] for job in jobs(stack)} - set(taken)
    more = [seeds(raw(stack, body))[0] for _ in range(len(spare) + 1)]
    assert len(set(more)) == len(more)
    assert not set(more) & set(taken)
