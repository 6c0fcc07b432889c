"""Jobs that their callers pause and resume."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.errors import Conflict, JobNotFound, QueueFull
from jobs.states import JobState
from jobs.store import keys, queries
from jobs.store.listing import JobFilter, page
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]
DAY_MS = 24 * 3600 * 1000


def test_a_waiting_job_is_paused_and_resumed_at_its_old_place(driver: Open) -> None:
    here = driver()
    first, second, third = here.submit_many(3)
    assert [here.store.pause(second) for _ in range(2)] == ["paused", "paused"], "a repeat changes nothing"
    assert here.state(second) == "paused"
    assert (here.forecast(second).position, here.forecast(second).waiting_for) == (None, "resume of the job")
    assert here.forecast(third).position == 2
    here.open()
    assert here.take(1) == [first]
    assert here.at()[0] == third
    here.store.resume(second)
    assert not here.store.resume(second), "it is not paused any more"
    later = here.submit()
    assert here.drain() == [third, second, later]


def test_a_resumed_job_goes_to_an_idle_slot_at_once(driver: Open) -> None:
    here = driver()
    here.open()
    job_id = here.submit()
    here.store.pause(job_id)
    assert here.at()[0] == ""
    here.store.resume(job_id)
    assert here.at() == (job_id, 2)


def test_a_job_that_was_sent_to_a_worker_leaves_the_slot_to_the_next_one(driver: Open) -> None:
    here = driver()
    here.open()
    sent, waiting = here.submit_many(2)
    assert here.at() == (sent, 1)
    here.store.pause(sent)
    assert here.at() == (waiting, 1)
    assert here.store.get(sent).slot is None
    assert here.active("a") == {waiting}
    assert here.store.start(sent, 1, slot="gpu0", owner=OWNER, device="cpu", run="late") is None


@pytest.mark.parametrize("state", ["delivering", "succeeded", "cancelled"])
def test_other_jobs_are_not_paused(driver: Open, state: str) -> None:
    here = driver()
    here.open()
    job_id = here.submit()
    if state == "cancelled":
        here.store.cancel(job_id)
    else:
        here.start()
        here.store.finish_run(job_id, 1, slot="gpu0", node="host" if state == "delivering" else "", run_s=1)
    assert here.state(job_id) == state
    with pytest.raises(Conflict, match=state):
        here.store.pause(job_id)
    assert here.state(job_id) == state


def test_what_cannot_be_resumed(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.store.cancel(job_id)
    with pytest.raises(Conflict, match="cancelled"):
        here.store.resume(job_id)
    for call in (here.store.pause, here.store.resume):
        with pytest.raises(JobNotFound):
            call("unknown")


def test_a_paused_job_is_listed_and_counted(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.store.pause(job_id)
    assert queries.counts(here.store)["paused"] == 1
    assert queries.fleet(here.store).waiting_models == {}
    listed = page(here.store, JobFilter(key_id="a", states=frozenset({JobState.PAUSED})), limit=5)
    assert [job.job_id for job in listed.jobs] == [job_id]


def test_a_paused_job_expires_when_it_is_not_resumed(driver: Open) -> None:
    here = driver(paused_ttl_s=7 * 24 * 3600)
    job_id = here.submit()
    here.store.pause(job_id)
    due = here.redis.zscore(keys.DEADLINES, job_id)
    assert here.store.get(job_id).resume_by_ms == due
    assert abs(due - here.store.get(job_id).created_at_ms - 7 * DAY_MS) < 60_000
    here.sweep()
    assert here.state(job_id) == "paused"
    here.redis.zadd(keys.DEADLINES, {job_id: 1})
    here.sweep()
    job = here.store.get(job_id)
    assert (job.state, job.error) == ("expired", {"code": "not_resumed", "message": "not resumed in time"})


def test_the_clock_of_a_deadline_stands_still_during_a_pause(driver: Open) -> None:
    here = driver()
    job_id = here.submit(start_within_s=60)
    here.store.pause(job_id)
    record = here.store.read(job_id)
    assert 59_000 < int(record["start_within"]) <= 60_000
    assert "start_by" not in record
    here.redis.hset(keys.JOB + job_id, "start_within", 10_000)
    here.store.resume(job_id)
    record = here.store.read(job_id)
    assert "start_within" not in record
    seconds, micros = here.redis.time()
    assert 0 < int(record["start_by"]) - (seconds * 1000 + micros // 1000) <= 10_000
    assert here.redis.zscore(keys.DEADLINES, job_id) == int(record["start_by"])


def test_the_time_of_a_pause_is_not_counted_as_waiting(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.store.pause(job_id)
    paused_at = int(here.redis.hget(keys.JOB + job_id, "paused_at"))
    here.redis.hset(keys.JOB + job_id, "paused_at", paused_at - 5000)
    here.store.resume(job_id)
    assert 5000 <= here.store.get(job_id).paused_ms < 6000


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_paused_job_is_cancelled_and_deleted(driver: Open, end: str) -> None:
    here = driver()
    job_id = here.submit()
    here.store.pause(job_id)
    assert here.store.purge(job_id) == "live"
    assert here.store.cancel(job_id) == (True, None)
    assert here.redis.zcard(keys.DEADLINES) == 0
    if end == "delete":
        assert here.store.purge(job_id) == "deleted"
        with pytest.raises(JobNotFound):
            here.store.get(job_id)
    else:
        assert here.state(job_id) == "cancelled"
        assert here.store.get(job_id).resume_by_ms is None


def test_paused_jobs_count_as_waiting_ones(driver: Open) -> None:
    """Otherwise one could keep any number of jobs, and a resume might have to be refused."""
    here = driver(max_waiting=3)
    for _ in range(2):
        here.store.pause(here.submit(caller_max_waiting=2))
    with pytest.raises(QueueFull):
        here.submit(caller_max_waiting=2)
    here.submit("b")
    with pytest.raises(QueueFull):
        here.submit("b")
