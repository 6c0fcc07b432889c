"""Many equal requests at once over two web processes, from clients that hang up and try again."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from tests.support.a1111_client import BODY, Impatient, jobs, raw, seeds, until_idle
from tests.support.harness import PATIENCE_S, Stack

CLIENTS, ROUNDS = 6, 4


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
    # What nobody took is still there for the next ones who ask, each once.
    spare = {job["request"]["seed"] for job in jobs(stack)} - set(taken)
    more = [seeds(raw(stack, body))[0] for _ in range(len(spare) + 1)]
    assert len(set(more)) == len(more)
    assert not set(more) & set(taken)
