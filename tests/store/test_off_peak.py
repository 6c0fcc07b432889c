"""Jobs of the class off-peak run only while no other job waits that the slot could run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.store import keys
from jobs.store.monitoring import figures
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]


def off_peak(here: StoreDriver, key: str = "night", **options: object) -> str:
    return here.submit(key, job_class="off-peak", **options)


def test_it_runs_when_nothing_else_waits(driver: Open) -> None:
    here = driver()
    here.open()
    job_id = off_peak(here)
    assert here.at()[0] == job_id


@pytest.mark.parametrize("job_class", ["general", "premium"])
def test_every_other_class_goes_first_however_long_it_waits(driver: Open, job_class: str) -> None:
    here = driver()
    late = [off_peak(here, priority=100) for _ in range(3)]
    others = here.submit_many(30, job_class=job_class, priority=-100)
    here.open()
    assert here.take(20) == others[:20]
    others += here.submit_many(10, job_class=job_class, priority=-100)
    assert here.drain() == [*others[20:], *late]


def test_jobs_that_the_slot_cannot_run_do_not_hold_it_back(driver: Open) -> None:
    here = driver()
    here.submit(model="other")
    limited = [here.submit("b") for _ in range(2)]
    here.limit("b", 1)
    late = off_peak(here)
    here.open()
    here.open("gpu1")
    assert {here.at("gpu0")[0], here.at("gpu1")[0]} == {limited[0], late}


def test_a_model_in_memory_does_not_help_it(driver: Open) -> None:
    here = driver()
    late = off_peak(here, model="warm")
    other = here.submit(model="cold")
    here.open("gpu0", "warm", "cold", resident="warm")
    assert here.drain() == [other, late]


def test_pinned_to_a_slot_it_comes_after_all_that_the_slot_could_run(driver: Open) -> None:
    here = driver()
    late, other = off_peak(here, pin="gpu0"), here.submit()
    elsewhere = off_peak(here)
    pinned = here.submit(pin="gpu0")
    assert here.forecast(late).position == 3
    here.open()
    assert here.forecast(late).position == 2
    assert here.drain() == [pinned, other, late, elsewhere]


def test_an_operator_may_move_it_to_the_front(driver: Open) -> None:
    here = driver()
    here.submit_many(3)
    pinned, moved = off_peak(here, pin="gpu0"), off_peak(here)
    here.store.move_to_front(moved)
    here.store.move_to_front(pinned)
    here.open()
    assert here.take(2) == [pinned, moved]


def test_its_keys_share_what_is_left(driver: Open) -> None:
    here = driver()
    many = [off_peak(here, "many") for _ in range(10)]
    few = [off_peak(here, "few") for _ in range(2)]
    here.open()
    order = here.drain()
    assert order[:4] in ([few[0], many[0], few[1], many[1]], [many[0], few[0], many[1], few[1]])


def test_the_shares_of_the_other_classes_do_not_change_through_it(driver: Open) -> None:
    here = driver(general_premium_ratio="1 3")
    here.open()
    for _ in range(5):
        off_peak(here)
    here.drain()
    here.submit_many(20, "g")
    here.submit_many(20, "p", job_class="premium")
    assert sum(job_id.startswith("p") for job_id in here.take(16)) in (11, 12, 13)


def test_its_place_is_behind_all_other_jobs_and_it_says_so(driver: Open) -> None:
    here = driver()
    here.know(m=2)
    here.open()
    here.submit()
    first, second = off_peak(here), off_peak(here)
    assert here.forecast(first).waiting_for is None
    here.submit_many(4)
    here.submit_many(2, job_class="premium")
    assert [here.forecast(job_id).position for job_id in (first, second)] == [7, 8]
    forecast = here.forecast(first)
    assert forecast.waiting_for == "jobs of other classes"
    assert forecast.eta_s == pytest.approx(2 * 8, abs=0.5)


def test_it_does_not_count_as_the_oldest_wait(driver: Open) -> None:
    here = driver()
    late = off_peak(here)
    here.redis.zadd(f"{keys.STATE}queued", {late: 1})
    assert figures.read(here.store).oldest_wait_s == 0
