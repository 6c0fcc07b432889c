"""How the store handles calls that come twice or too late, or after Redis lost its last moments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.errors import BadSetting, JobNotFound
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.store.layout import LAYOUT, check_layout
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]


def test_a_stopped_job_is_kept_until_its_worker_has_stopped_too(driver: Open) -> None:
    """It is kept whatever the retention time is: without the record, the slot could not be freed."""
    here = driver(result_ttl_s=0)
    here.open()
    hanging = here.submit()
    here.start()
    here.store.cancel(hanging)
    here.redis.zadd(keys.EXPIRING, {hanging: 1})
    here.sweep()
    assert here.state(hanging) == "cancelled"
    waiting = here.submit()
    here.store.release(hanging, 1, slot="gpu0")
    assert here.at()[0] == waiting
    here.redis.zadd(keys.EXPIRING, {hanging: 1})
    here.sweep()
    with pytest.raises(JobNotFound):
        here.store.get(hanging)


def test_a_job_lost_twice_waits_once(driver: Open) -> None:
    """The call is repeated before the job is bound again."""
    here = driver()
    here.open()
    job_id = here.submit()
    here.start()
    here.store.pause_slots()
    for _ in range(3):
        assert here.store.lose(job_id, 1) == "queued"
    assert here.redis.hgetall(keys.WAITING) == {"model:m": "1", "class:general": "1"}


@pytest.mark.parametrize("call", ["compute", "fail", "release"])
def test_a_run_whose_start_was_forgotten_is_queued_again_when_it_ends(driver: Open, call: str) -> None:
    """Redis lost the start. A slot must not be free while a job is bound to it, or that job would never run."""
    here = driver()
    here.open()
    job_id = here.submit()
    assert not here.store.progress(job_id, 1, "denoising", 1, 2, None)
    if call == "compute":
        assert not here.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=1)
    elif call == "fail":
        assert not here.store.fail(job_id, 1, code="x", message="x", slot="gpu0")
    else:
        here.store.release(job_id, 1, slot="gpu0")
    assert here.at() == (job_id, 2)
    assert here.finish() == job_id


def test_a_run_whose_cancellation_was_forgotten_is_queued_again_when_it_stopped(driver: Open) -> None:
    here = driver()
    here.open()
    job_id = here.submit()
    here.start()
    here.store.release(job_id, 1, slot="gpu0")
    assert here.at() == (job_id, 2)
    assert here.store.get(job_id).started_at_ms is None


def test_a_run_that_is_queued_again_goes_to_an_idle_slot_if_its_own_takes_another_job(driver: Open) -> None:
    here = driver()
    here.open("gpu0", "m", "n")
    job_id = here.submit()
    here.open("gpu1", "m")
    pinned = here.submit(model="n", pin="gpu0")
    here.store.release(job_id, 1, slot="gpu0")
    assert [here.at(slot)[0] for slot in ("gpu0", "gpu1")] == [pinned, job_id]


def test_the_repeat_of_a_computed_run_answers_the_same_and_frees_nothing_else(driver: Open) -> None:
    here = driver()
    here.open()
    first, second = here.submit_many(2)
    here.start()
    for _ in range(2):
        assert here.store.finish_run(first, 1, slot="gpu0", node="host", run_s=1)
        assert here.at() == (second, 1)


def test_a_late_worker_changes_nothing(driver: Open) -> None:
    """Its slot was given up, and the job runs elsewhere."""
    here = driver()
    here.open("gpu0")
    job_id = here.submit()
    here.start("gpu0")
    here.open("gpu1")
    here.silence("gpu0")
    assert here.start("gpu1") == job_id
    before = here.store.read(job_id)
    assert not here.store.progress(job_id, 1, "denoising", 1, 2, None)
    assert not here.store.finish_run(job_id, 1, slot="gpu0", node="", run_s=1)
    assert not here.store.fail(job_id, 1, code="x", message="x", slot="gpu0")
    assert here.store.lose(job_id, 1) == "running"
    here.store.release(job_id, 1, slot="gpu0")
    assert here.store.claim(job_id, 1, "io") == 0
    assert not here.store.heartbeat("gpu0", "host:1:1", {}).held
    assert here.store.read(job_id) == before
    assert here.at("gpu1") == (job_id, 2)


def test_a_job_that_loses_every_worker_is_given_up(driver: Open) -> None:
    here = driver(max_attempts=3)
    here.open()
    job_id = here.submit()
    for attempt in (1, 2, 3):
        here.start()
        assert here.store.lose(job_id, attempt) == ("failed" if attempt == 3 else "queued")
    assert (here.store.get(job_id).error or {})["code"] == "worker_lost"
    assert here.redis.zrange(keys.DEAD, 0, -1) == [job_id]


def test_a_worker_that_breaks_before_every_start_does_not_turn_in_a_circle_for_ever(driver: Open) -> None:
    here = driver(max_attempts=2)
    here.open()
    job_id = here.submit()
    states = [here.store.lose(job_id, attempt) for attempt in range(1, 21)]
    assert states == ["queued"] * 19 + ["failed"]


def test_a_lost_job_goes_back_to_its_own_place(driver: Open) -> None:
    here = driver()
    here.open()
    first, second, third = here.submit_many(3)
    here.start()
    here.store.pause_slots()
    here.store.lose(first, 1)
    assert [here.forecast(job_id).position for job_id in (first, second, third)] == [1, 2, 3]
    here.store.pause_slots(resume=True)
    assert here.drain() == [first, second, third]


def test_jobs_that_waited_under_version_0_2_are_adopted(driver: Open) -> None:
    """Its lanes had other names, its slots no index, and its counters one field more."""
    here = driver()
    first, pinned, front = here.submit("a"), here.submit("b", pin="gpu1"), here.submit("c")
    new = here.submit("d")
    here.store.move_to_front(front)
    here.open("gpu0", "other")
    lanes = {first: "general|a|m", pinned: "@gpu1", front: "!m"}
    indexes = ("lane", "ready", "order", "offers", "slots:", "idle:")
    for name in here.redis.keys(keys.PREFIX + "*"):
        if name.removeprefix(keys.PREFIX).startswith(indexes):
            here.redis.delete(name)
    for number, (job_id, lane) in enumerate(lanes.items()):
        here.redis.hset(keys.JOB + job_id, "lane", lane)
        here.redis.hdel(keys.JOB + job_id, "line")
        here.redis.zadd(keys.LANE + lane, {job_id: number})
    here.redis.hdel(keys.SLOT + "gpu0", "offer", "standing", "idle_since")
    here.redis.hset(keys.WAITING, mapping={"model:m": 9, "general|a": 1})
    here.redis.delete(keys.LAYOUT)
    here.redis.zrem(keys.STATE + "queued", new)
    here.redis.delete(keys.JOB + new)
    assert here.forecast(first).position == 1
    JobStore(here.store.settings).sweep()
    assert here.redis.hgetall(keys.WAITING) == {
        "model:m": "3", "class:general": "1", "pin:gpu1": "1", "pins": "1", "front": "1",
    }  # fmt: skip
    assert [here.forecast(job_id).position for job_id in (front, first)] == [1, 2]
    here.open("gpu1")
    assert here.drain("gpu1") == [pinned, front, first]


def test_data_of_a_newer_version_are_left_alone(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    waiting = here.submit()
    here.redis.set(keys.LAYOUT, LAYOUT + 1)
    store = JobStore(here.store.settings)
    with pytest.raises(BadSetting, match="written by a newer Framemill"):
        store.sweep()
    with pytest.raises(BadSetting, match="restore a backup"):
        check_layout(here.store.settings)
    assert here.redis.get(keys.LAYOUT) == str(LAYOUT + 1)
    here.redis.set(keys.LAYOUT, LAYOUT)
    check_layout(here.store.settings)
    assert store.sweep() is not None
    assert here.state(waiting) == "queued"
