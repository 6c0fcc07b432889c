"""Slots whose workers pull over HTTP: open while a call waits, silent while they compute."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from jobs.errors import QueueFull
from jobs.store import keys
from jobs.store.jobs import JobStore
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]

OWNER = "http.m:0:"
FACTS = {"models": '["m"]', "away_lease_ms": 60_000}


def pull(here: StoreDriver, first: int = 0) -> tuple[str, str, int]:
    return here.store.pull("http.m", OWNER, FACTS, most=3, first=first)[:3]


def start(here: StoreDriver, slot: str, job_id: str, attempt: int) -> None:
    assert here.store.start(job_id, attempt, slot=slot, owner=OWNER, device="http", run=f"{job_id}.{attempt}")


def complete(here: StoreDriver, slot: str, job_id: str, attempt: int) -> bool:
    return here.store.complete(job_id, attempt, slot=slot, run_s=1, outputs=[], result={"seed": {"value": 1}})


def lease_s(here: StoreDriver, slot: str = "http.m") -> float:
    return float(here.redis.zscore(keys.LEASES, slot) or 0) / 1000 - time.time()


def test_a_job_waits_until_the_worker_asks(driver: Open) -> None:
    here = driver()
    first, second = here.submit(), here.submit()
    slot, job_id, attempt = pull(here)
    assert (slot, job_id, attempt) == ("http.m", first, 1)
    start(here, slot, job_id, attempt)
    assert complete(here, slot, job_id, attempt)
    assert here.state(first) == "succeeded"
    assert here.store.get(first).result == {"seed": {"value": 1}}
    assert here.at(slot) == ("", 0)  # it asked for one job only
    assert pull(here)[1] == second


def test_a_job_that_waits_is_started_in_the_same_call_and_a_repeated_call_gets_it_again(driver: Open) -> None:
    here = driver()
    first, second = here.submit(), here.submit()

    def started(run: str) -> tuple[str, str]:
        pulled = here.store.pull("http.m", OWNER, FACTS, most=3, device="http", run=run)
        assert pulled.job is not None
        assert (pulled.job.job_id, pulled.job.state, pulled.job.starts) == (pulled.job_id, "running", 1)
        return pulled.slot, pulled.job_id

    assert started("r1") == started("r1") == ("http.m", first)
    assert started("r2") == ("http.m~1", second)
    assert complete(here, "http.m", first, 1)


def test_a_slot_that_waits_is_given_what_comes(driver: Open) -> None:
    here = driver()
    assert pull(here) == ("http.m", "", 0)
    job_id = here.submit()
    assert here.at("http.m") == (job_id, 1)
    assert here.forecast(here.submit()).waiting_for is None


def test_a_slot_that_was_closed_is_given_nothing(driver: Open) -> None:
    here = driver()
    pull(here)
    assert here.store.heartbeat("http.m", OWNER, {"open": ""}).job_id == ""
    job_id = here.submit()
    assert here.at("http.m") == ("", 0)
    assert here.store.heartbeat("http.m", OWNER, {}).job_id == ""
    assert here.store.heartbeat("http.m", OWNER, {"open": "1"}).job_id == job_id


def test_nothing_is_pushed_to_it(driver: Open) -> None:
    here = driver()
    here.store = JobStore(here.store.settings, message="@I@")
    pull(here)
    here.open("gpu0")
    jobs = here.submit_many(2)
    here.sweep()
    assert here.redis.exists("http.m") == 0
    assert here.redis.lrange("gpu0", 0, -1) == [here.at("gpu0")[0]]
    assert {here.at("gpu0")[0], here.at("http.m")[0]} == set(jobs)


def test_what_no_call_takes_goes_back(driver: Open) -> None:
    here = driver()
    pull(here)
    job_id = here.submit()
    assert pull(here) == ("http.m", job_id, 1)  # the call that waited has ended; this one takes the job
    here.redis.zadd(keys.ASSIGNED, {job_id: 1})
    here.sweep()
    assert here.at("http.m") == ("", 0)
    assert here.state(job_id) == "queued"
    assert pull(here) == ("http.m", job_id, 2)


def test_a_worker_has_a_slot_for_each_of_its_jobs(driver: Open) -> None:
    here = driver()
    jobs = here.submit_many(4)
    taken = []
    for _ in range(3):
        slot, job_id, attempt = pull(here)
        start(here, slot, job_id, attempt)
        taken.append((slot, job_id))
    assert taken == list(zip(("http.m", "http.m~1", "http.m~2"), jobs, strict=False))
    assert pull(here) == ("", "", 0)


def test_leases_follow_what_it_does(driver: Open) -> None:
    here = driver()
    job_id = here.submit(max_silence_s=300)
    slot, _, attempt = pull(here)
    start(here, slot, job_id, attempt)
    assert 290 < lease_s(here) <= 300
    assert complete(here, slot, job_id, attempt)
    assert 50 < lease_s(here) <= 60
    pull(here)
    assert lease_s(here) <= here.store.settings.leases.slot_lease_s


def test_asking_for_a_job_leaves_the_lease_of_a_running_one_alone(driver: Open) -> None:
    here = driver()
    job_id = here.submit(max_silence_s=300)
    slot, _, attempt = pull(here)
    start(here, slot, job_id, attempt)
    assert pull(here) == ("http.m~1", "", 0)
    assert lease_s(here, slot) > 290
    assert here.at(slot) == (job_id, attempt)


def test_a_search_for_a_free_slot_may_begin_in_the_middle(driver: Open) -> None:
    here = driver()
    assert pull(here, first=2) == ("http.m~2", "", 0)
    assert pull(here, first=2) == ("", "", 0)
    assert pull(here) == ("http.m", "", 0)


def test_a_silent_one_loses_its_job_and_its_late_result(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    slot, _, attempt = pull(here)
    start(here, slot, job_id, attempt)
    here.silence(slot)
    assert here.state(job_id) == "queued"
    again = pull(here)
    assert again == (slot, job_id, 2)
    assert not complete(here, slot, job_id, attempt)
    start(here, *again)
    assert complete(here, *again)
    assert complete(here, *again)  # a repeated call has the same result
    assert here.state(job_id) == "succeeded"


def test_its_queue_has_a_length(driver: Open) -> None:
    here = driver()
    here.submit(model_max_waiting=1)
    with pytest.raises(QueueFull, match="max length of 1"):
        here.submit(model_max_waiting=1)
    here.submit(model="n", model_max_waiting=1)
