"""Jobs that may not start before a time: they wait outside the queue, and join it then."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from jobs.errors import QueueFull
from jobs.store import keys
from jobs.store.monitoring import figures
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]


def in_ms(seconds: float) -> int:
    return int(1000 * (time.time() + seconds))


def test_a_job_does_not_start_before_its_time(driver: Open) -> None:
    here = driver()
    here.open()
    job_id = here.submit(not_before_ms=in_ms(3600))
    here.sweep()
    assert here.at() == ("", 0)
    here.let_time_come(job_id)
    here.sweep()
    assert here.at() == (job_id, 1)


@pytest.mark.parametrize("how", ["heartbeat", "the end of a job"])
def test_a_slot_finds_a_job_whose_time_has_come_without_a_sweep(driver: Open, how: str) -> None:
    here = driver()
    here.open()
    other = here.submit() if how == "the end of a job" else ""
    job_id = here.submit(not_before_ms=in_ms(3600))
    here.let_time_come(job_id)
    if other:
        assert here.finish() == other
    else:
        here.store.heartbeat("gpu0", OWNER, {})
    assert here.at()[0] == job_id


def test_it_waits_at_its_place_by_age_once_its_time_has_come(driver: Open) -> None:
    here = driver()
    early = here.submit(not_before_ms=in_ms(3600))
    later = here.submit()
    here.let_time_come(early)
    here.sweep()
    here.open()
    assert here.drain() == [early, later]


def test_its_position_is_none_and_its_expected_time_counts_from_its_time(driver: Open) -> None:
    here = driver()
    here.know(m=5)
    here.open()
    job_id = here.submit(work=2, not_before_ms=in_ms(3600))
    forecast = here.forecast(job_id)
    assert forecast.position is None
    assert forecast.eta_s == pytest.approx(3610, abs=5)
    time_text = time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() + 3600))
    assert forecast.waiting_for is not None
    assert forecast.waiting_for.startswith(f"the time {time_text}")
    here.submit_many(3)
    assert here.forecast("a4").position == 2, "an early job is before nobody"


def test_it_counts_as_waiting_for_the_limits(driver: Open) -> None:
    here = driver(max_waiting=1)
    here.submit(not_before_ms=in_ms(3600))
    with pytest.raises(QueueFull):
        here.submit()


def test_it_can_be_cancelled(driver: Open) -> None:
    here = driver()
    here.open()
    job_id = here.submit(not_before_ms=in_ms(3600))
    assert here.store.cancel(job_id) == (True, None)
    assert not here.redis.exists(keys.NOT_BEFORE)


def test_its_deadline_counts_from_its_time(driver: Open) -> None:
    here = driver()
    start = in_ms(3600)
    job_id = here.submit(not_before_ms=start, start_within_s=60)
    assert here.redis.zscore(keys.DEADLINES, job_id) == start + 60_000
    here.pass_deadline(job_id)
    here.sweep()
    assert here.state(job_id) == "expired"
    assert not here.redis.exists(keys.NOT_BEFORE)


def test_a_job_with_a_time_that_is_over_starts_at_once(driver: Open) -> None:
    here = driver()
    here.open()
    job_id = here.submit(not_before_ms=in_ms(-5))
    assert here.at()[0] == job_id


def test_the_front_of_the_queue_begins_with_its_time(driver: Open) -> None:
    here = driver()
    here.open()
    here.submit_many(3)
    job_id = here.submit("z", not_before_ms=in_ms(3600))
    here.store.move_to_front(job_id)
    assert here.forecast(job_id).position is None
    here.let_time_come(job_id)
    here.finish()
    assert here.at()[0] == job_id


def test_many_join_the_queue_at_the_same_time_in_slices(driver: Open) -> None:
    here = driver()
    for job_id in here.submit_many(70, not_before_ms=in_ms(3600)):
        here.let_time_come(job_id)
    here.sweep()
    assert here.redis.hget(keys.WAITING, "model:m") == "70"
    assert not here.redis.exists(keys.NOT_BEFORE)


def test_the_oldest_wait_is_that_of_a_job_that_could_run(driver: Open) -> None:
    here = driver()
    early = here.submit(not_before_ms=in_ms(3600))
    here.redis.zadd(f"{keys.STATE}queued", {early: 1})
    assert figures.read(here.store).oldest_wait_s == 0
    here.submit()
    assert 0 <= figures.read(here.store).oldest_wait_s < 60
