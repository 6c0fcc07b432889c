"""Admission: which jobs are accepted, which must wait, and which leave the queue without being started."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from jobs.errors import Conflict, DuplicateJob, IdempotencyMismatch, JobNotFound, QueueFull
from jobs.store import keys
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]

# ---- limits


def test_the_queue_takes_no_more_than_its_limit(driver: Open) -> None:
    here = driver(max_waiting=3)
    here.submit_many(2, "a")
    here.submit("b")
    with pytest.raises(QueueFull, match="3 jobs are waiting, the limit is 3"):
        here.submit("c")
    here.open()
    here.finish()
    here.submit("c")


def test_a_key_has_a_limit_of_waiting_jobs_of_its_own(driver: Open) -> None:
    here = driver()
    here.submit_many(2, "a", caller_max_waiting=2)
    with pytest.raises(QueueFull, match="2 jobs of this key"):
        here.submit("a", caller_max_waiting=2)
    here.submit("b", caller_max_waiting=2)


def test_a_key_has_a_limit_of_jobs_per_minute_and_is_told_when_to_come_back(driver: Open) -> None:
    here = driver()
    while time.time() % 60 > 58:
        time.sleep(0.1)
    here.submit_many(2, "a", caller_max_per_minute=2)
    with pytest.raises(QueueFull, match="per minute") as refusal:
        here.submit("a", caller_max_per_minute=2)
    assert abs(refusal.value.retry_after_s - (60 - time.time() % 60)) <= 1.1
    here.submit("b", caller_max_per_minute=2)


def test_a_refused_job_leaves_no_trace_and_counts_for_nothing(driver: Open) -> None:
    here = driver(max_waiting=1)
    here.submit("a")
    before = {name: here.redis.dump(name) for name in here.redis.keys("*")}
    for _ in range(3):
        with pytest.raises(QueueFull):
            here.submit("a", caller_max_per_minute=5, idempotency_key="k", fingerprint="f")
    assert {name: here.redis.dump(name) for name in here.redis.keys("*")} == before


# ---- repeated requests


def test_an_id_is_used_once(driver: Open) -> None:
    here = driver()
    here.submit(job_id="mine")
    with pytest.raises(DuplicateJob):
        here.submit(job_id="mine")


@pytest.mark.parametrize("fingerprint", ["body", ""])
def test_a_repeat_with_an_idempotency_key_gives_the_first_job(driver: Open, fingerprint: str) -> None:
    here = driver(max_waiting=1)
    first = here.submit(idempotency_key="k", fingerprint=fingerprint)
    again = here.accept(idempotency_key="k", fingerprint=fingerprint)
    assert (again.job_id, again.job) == (first, None)
    assert here.redis.zcard(keys.JOBS) == 1
    here.open()
    here.finish()
    assert here.submit(idempotency_key="k", fingerprint=fingerprint) == first


def test_an_idempotency_key_with_another_body_is_refused(driver: Open) -> None:
    here = driver()
    first = here.submit(idempotency_key="k", fingerprint="one")
    with pytest.raises(IdempotencyMismatch, match=first):
        here.submit(idempotency_key="k", fingerprint="two")


def test_idempotency_keys_of_two_callers_do_not_meet(driver: Open) -> None:
    here = driver()
    first = here.submit("a", idempotency_key="k", fingerprint="one")
    assert here.submit("b", idempotency_key="k", fingerprint="two") != first


def test_an_idempotency_key_is_forgotten_in_time(driver: Open) -> None:
    here = driver(idempotency_ttl_s=1)
    first = here.submit(idempotency_key="k", fingerprint="one")
    assert 0 < here.redis.pttl(keys.IDEMPOTENCY + "a:k") <= 1000
    here.redis.pexpire(keys.IDEMPOTENCY + "a:k", 0)
    assert here.submit(idempotency_key="k", fingerprint="two") != first


def test_an_idempotency_key_whose_job_is_no_longer_kept_is_free_again(driver: Open) -> None:
    here = driver()
    here.open()
    first = here.submit(idempotency_key="k", fingerprint="one")
    here.finish()
    here.redis.zadd(keys.EXPIRING, {first: 1})
    here.sweep()
    assert here.accept(idempotency_key="k", fingerprint="one").job


# ---- deadlines


@pytest.mark.parametrize("pin", [None, "gpu0"])
def test_a_job_past_its_deadline_expires_when_a_slot_would_take_it(driver: Open, pin: str | None) -> None:
    here = driver()
    late = here.submit(start_within_s=60, pin=pin)
    fine = here.submit(start_within_s=60, pin=pin)
    here.pass_deadline(late)
    here.open()
    assert here.at()[0] == fine
    assert here.state(late) == "expired"
    error = here.store.get(late).error
    assert error is not None
    assert error["code"] == "expired"


def test_a_job_past_its_deadline_expires_in_a_sweep(driver: Open) -> None:
    here = driver()
    late, fine = here.submit(start_within_s=60), here.submit(start_within_s=60)
    front = here.submit(start_within_s=60)
    here.store.move_to_front(front)
    here.pass_deadline(late)
    here.pass_deadline(front)
    here.sweep()
    assert [here.state(job_id) for job_id in (late, fine, front)] == ["expired", "queued", "expired"]
    assert here.redis.zrange(keys.DEADLINES, 0, -1) == [fine]


def test_a_job_that_started_in_time_has_no_deadline_any_more(driver: Open) -> None:
    here = driver()
    here.open()
    job_id = here.submit(start_within_s=0.05)
    here.start()
    time.sleep(0.1)
    here.store.pause_slots()
    here.store.lose(job_id, 1)
    here.sweep()
    assert here.state(job_id) == "queued"
    here.store.pause_slots(resume=True)
    assert here.finish() == job_id


def test_a_job_that_was_bound_in_time_keeps_its_deadline_if_it_never_started(driver: Open) -> None:
    here = driver()
    here.open()
    job_id = here.submit(start_within_s=60)
    here.store.pause_slots()
    here.silence("gpu0")
    here.pass_deadline(job_id)
    here.sweep()
    assert here.state(job_id) == "expired"


# ---- pause and the front


def test_a_paused_queue_gives_no_jobs_until_it_goes_on(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    here.open("gpu1")
    here.store.pause_slots()
    ids = here.submit_many(3)
    assert [here.at("gpu0")[0], here.at("gpu1")[0]] == ["", ""]
    here.store.pause_slots(resume=True)
    assert {here.at("gpu0")[0], here.at("gpu1")[0]} == set(ids[:2])


def test_a_paused_slot_ends_its_job_and_gets_no_other(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    first, second = here.submit_many(2)
    here.store.pause_slots("gpu0")
    assert here.finish() == first
    assert here.at()[0] == ""
    here.open("gpu1")
    assert here.finish("gpu1") == second
    third = here.submit(pin="gpu0")
    assert here.at()[0] == ""
    here.store.pause_slots("gpu0", resume=True)
    assert here.at()[0] == third


def test_a_heartbeat_of_a_paused_or_draining_slot_gets_no_job(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    here.open("gpu1")
    here.store.pause_slots("gpu0")
    here.store.drain("gpu1", OWNER)
    here.submit()
    assert here.store.heartbeat("gpu0", OWNER, {}).job_id == ""
    assert here.store.heartbeat("gpu1", OWNER, {}).job_id == ""


def test_only_waiting_jobs_move_to_the_front(driver: Open) -> None:
    here = driver()
    here.open()
    bound = here.submit()
    with pytest.raises(Conflict, match="has a slot already"):
        here.store.move_to_front(bound)
    here.finish()
    with pytest.raises(Conflict, match="succeeded"):
        here.store.move_to_front(bound)
    with pytest.raises(JobNotFound):
        here.store.move_to_front("nobody")
