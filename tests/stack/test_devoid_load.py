"""A service with many users: shares of the classes, and a web server that dies under load."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.store import keys
from tests.support.devoid_client import MODELS
from tests.support.devoid_users import Service
from tests.support.harness import Stack

SMALL = {"prompt": "x", "steps": 1, "width": 32, "height": 32}
#: Users of each class, and the number of counted turns.
USERS, TURNS = 61, 60


@pytest.fixture
def models(tmp_path: Path) -> Path:
    file = tmp_path / "models.toml"
    file.write_text(MODELS)
    return file


class Watch:
    """Checks continuously whether a slot is idle while jobs wait."""

    def __init__(self, stack: Stack) -> None:
        self.looks = 0
        self.wasted: list[Any] = []
        self._stack, self._ended = stack, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.wait(0.002):
            both = self._stack.store.client.pipeline(transaction=True)
            both.hexists(keys.SLOT + "gpu0", "idle_since").hgetall(keys.WAITING)
            idle, waiting = both.execute()
            self.looks += 1
            if idle and any(name.startswith("class:") for name in waiting):
                self.wasted.append(waiting)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._ended.set()
        self._thread.join()


def served_seconds(stack: Stack) -> tuple[Counter[str], float]:
    """Return the GPU seconds of each class in the counted turns, and those of the longest run.

    Classes share seconds, not turns: on a busy machine one run takes several times as long as another.
    """
    records = [stack.store.read(name.removeprefix(keys.JOB)) for name in stack.store.client.keys(f"{keys.JOB}*")]
    records.sort(key=lambda record: int(record["started_at"]))
    counted = records[1 : TURNS + 1]
    seconds: Counter[str] = Counter()
    for record in counted:
        seconds[record["class"]] += float(record["run_s"])  # type: ignore[assignment]
    return seconds, max(float(record["run_s"]) for record in counted)


def test_turns_are_shared_exactly_and_none_is_idle(start: Any, models: Path) -> None:
    stack = start(
        "gpu0", "io", MODELS_FILE=models, SERVICES="telegram:service_key", GENERAL_PREMIUM_RATIO="2 1", NOOP_STEP_MS=1
    )
    stack.store.pause_slots()
    users = {user: [{"payload": SMALL, "settings": {"premium": user % 2}}] for user in range(2 * USERS)}
    service = Service(stack, users)
    service.serve(2 * USERS)
    assert {word for _, word in service.told} == {"queued"}
    stack.store.pause_slots(resume=True)
    with Watch(stack) as watch:
        service.serve(2 * 2 * USERS)
    seconds, longest = served_seconds(stack)
    general, premium = 2, 1
    ideal = sum(seconds.values()) * general / (general + premium)
    assert seconds["general"] == pytest.approx(ideal, abs=2 * longest), seconds
    # After the counted turns, one class has no more jobs, and the other gets all turns.
    assert watch.looks > 10
    assert not watch.wasted, watch.wasted[:3]
    assert service.ends == Counter(range(2 * USERS))
    service.close()


def test_a_web_server_that_dies_leaves_no_user_waiting(start: Any, models: Path) -> None:
    stack = start("gpu0", "io", MODELS_FILE=models, SERVICES="telegram:service_key", NOOP_STEP_MS=5)
    users, each, deaths = 8, 6, 2
    service = Service(stack, {user: [{"payload": SMALL}] * each for user in range(users)})
    for _ in range(deaths):
        service.serve(users * 3)
        stack.kill("web")
        stack.web()
    while any(service.ends[user] < each for user in range(users)):
        service.serve(1)
    # A request that was in flight when the server died may have been accepted, and is sent again.
    assert max(service.ends.values()) <= each + deaths
    service.close()
