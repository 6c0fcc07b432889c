"""Position and expected time, compared with what then happens.

Positions are exact for one slot while jobs cost the same. If costs differ, they are computed with the mean cost of the
waiting jobs: the order inside a key stays exact, and keys are interleaved by estimate. A job that runs before its turn
(pinned, or moved to the front) counts against its key when it runs; until then, the other jobs of its key are placed as
if it did not.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from jobs.store import keys
from jobs.store.queries import fleet
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]


def populate(here: StoreDriver, random: Random, number: int, *, front_and_pins: bool) -> None:
    """Submit jobs of random keys, classes, models and priorities; all cost the same."""
    for _ in range(number):
        ahead = random.choice((None, None, None, None, "pin", "front")) if front_and_pins else None
        job_id = here.submit(
            "z" if ahead else random.choice("abcde"),
            model=random.choice(("m", "n")),
            job_class=random.choice(("general", "general", "premium")),
            priority=random.choice((0, 0, 0, -1, 7)),
            pin="gpu0" if ahead == "pin" else None,
        )
        if ahead == "front":
            here.store.move_to_front(job_id)


@pytest.mark.parametrize("seconds", [1.0, 0.1235])
@pytest.mark.parametrize("ratio", ["1 3", "2 3", "1 1"])
@pytest.mark.parametrize(("seed", "number"), [(1, 6), (2, 25), (3, 25), (4, 60)])
def test_positions_are_the_order_in_which_jobs_run(
    driver: Open, seed: int, number: int, ratio: str, seconds: float
) -> None:
    here = driver(general_premium_ratio=ratio)
    random = Random(seed)
    here.know(m=seconds, n=seconds)
    here.open("gpu0", "m", "n")
    populate(here, random, number // 2, front_and_pins=False)
    here.take(number // 4, seconds=seconds)
    populate(here, random, number, front_and_pins=seed % 2 == 0)
    here.know(m=seconds, n=seconds)  # the last digits of a measured rate are not exact
    waiting = here.redis.zrange(keys.STATE + "queued", 0, -1)
    waiting.remove(here.at()[0])
    positions = [(here.forecast(job_id).position, job_id) for job_id in waiting]
    here.finish(seconds=seconds)
    order = here.drain(seconds=seconds)
    assert sorted(positions) == list(enumerate(order, 1))


def test_each_job_that_runs_moves_the_others_up_by_one(driver: Open) -> None:
    here = driver()
    here.open()
    ids = here.submit_many(5)
    for place in range(5):
        assert [here.forecast(job_id).position for job_id in ids] == [
            *([None] * place), *range(5 - place)
        ]  # fmt: skip
        here.finish()


def test_with_different_costs_positions_are_right_inside_a_key_and_near_between_keys(driver: Open) -> None:
    here = driver()
    here.know(m=1)
    here.open()
    random = Random(5)
    costs = {here.submit(random.choice("abc"), work=cost): cost for cost in random.choices(range(8, 13), k=30)}
    waiting = list(costs)[1:]
    positions = {job_id: here.forecast(job_id).position or 0 for job_id in waiting}
    order = []
    while here.at()[0]:
        order.append(here.finish(seconds=costs[here.at()[0]]))
    real = {job_id: place for place, job_id in enumerate(order)}
    for key in "abc":
        own = [job_id for job_id in order[1:] if job_id.startswith(key)]
        assert own == sorted(own, key=lambda job_id: positions[job_id])
    assert max(abs(positions[job_id] - real[job_id]) for job_id in waiting) <= 4


def test_the_answer_to_a_submission_says_where_the_job_stands(driver: Open) -> None:
    here = driver()
    here.know(m=2)
    here.open()
    assert [here.accept().forecast.position for _ in range(3)] == [0, 1, 2]


# ---- expected times


def test_expected_time_on_one_slot(driver: Open) -> None:
    here = driver()
    here.know(m=2)
    here.open()
    bound, first, second, long = *here.submit_many(3), here.submit(work=10)
    assert [here.forecast(job_id).eta_s for job_id in (bound, first)] == [2, pytest.approx(2 + 2, abs=0.1)]
    mean = (2 + 2 + 20) / 3
    assert here.forecast(second).eta_s == pytest.approx(2 + mean + 2, abs=0.1)
    assert here.forecast(long).eta_s == pytest.approx(2 + 2 * mean + 20, abs=0.1)
    here.start()
    here.store.progress(bound, 1, "denoising", 1, 4, 1.5)
    assert here.forecast(first).eta_s == pytest.approx(1.5 + 2, abs=0.1)


def test_expected_time_counts_down_while_a_job_runs(driver: Open) -> None:
    here = driver()
    here.know(m=60)
    here.open()
    running, waiting = here.submit_many(2)
    assert here.forecast(running).eta_s == 60
    here.start()

    def in_the_past(field: str, seconds: int) -> None:
        here.redis.hincrby(keys.JOB + running, field, -1000 * seconds)

    def expected() -> list[float | None]:
        return [here.forecast(job_id).eta_s for job_id in (running, waiting)]

    in_the_past("started_at", 20)
    assert expected() == [pytest.approx(40, abs=2), pytest.approx(100, abs=2)]
    here.store.progress(running, 1, "denoising", 1, 4, 30)
    assert expected() == [pytest.approx(30, abs=2), pytest.approx(90, abs=2)]
    in_the_past("eta_at", 10)
    assert expected() == [pytest.approx(20, abs=2), pytest.approx(80, abs=2)]
    here.store.progress(running, 1, "decoding", 4, 4, None)  # nothing is known about this stage
    assert expected() == [pytest.approx(40, abs=2), pytest.approx(100, abs=2)]
    in_the_past("started_at", 600)
    assert expected() == [0, pytest.approx(60, abs=2)]


def test_expected_time_on_two_slots(driver: Open) -> None:
    here = driver()
    here.know(m=200)  # large numbers, because the time that the test takes counts too
    here.open("gpu0")
    here.open("gpu1")
    ids = here.submit_many(6)
    for job_id, left in zip(ids[:2], (100.0, 200.0), strict=True):
        slot = next(slot for slot in ("gpu0", "gpu1") if here.at(slot)[0] == job_id)
        here.start(slot)
        here.store.progress(job_id, 1, "denoising", 1, 4, left)
    expected = [here.forecast(job_id).eta_s for job_id in ids]
    assert expected == pytest.approx([100, 200, *(100 + place * 200 / 2 + 200 for place in range(4))], abs=10)


def test_no_expected_time_while_nothing_like_it_was_measured(driver: Open) -> None:
    here = driver()
    here.open("gpu0", "m", "n")
    here.submit()
    waiting, other = here.submit(), here.submit(model="n")
    assert here.forecast(waiting).eta_s is None
    here.finish(seconds=3)
    following = here.submit()
    assert here.forecast(following).eta_s is None  # a job of model n runs before it
    here.store.cancel(other)
    assert here.forecast(following).eta_s == pytest.approx(3 + 3, abs=0.1)


def test_the_error_of_expected_times_is_measured(driver: Open) -> None:
    here = driver()
    here.know(m=2)
    here.open()
    here.submit_many(2)
    here.take(2)
    eta = fleet(here.store).eta
    assert (eta["jobs"], eta["mean_error_s"]) == (2, pytest.approx(3, abs=0.5))


# ---- what keeps a job from starting


def test_a_job_says_what_it_waits_for(driver: Open) -> None:
    here = driver()
    here.know(m=1)
    job_id, pinned = here.submit(), here.submit(pin="gpu1")
    here.store.pause_slots()

    def answers() -> list[str | None]:
        return [forecast.waiting_for for forecast in here.store.forecast(job_id, pinned)]

    assert answers() == ["model m", "slot gpu1"]
    here.open("gpu0", "other")
    assert answers() == ["model m", "slot gpu1"]
    here.open("gpu1")
    assert answers() == ["resume of the queue"] * 2
    here.store.pause_slots("gpu1")
    assert answers() == ["resume of slot gpu1"] * 2
    here.store.pause_slots(resume=True)
    assert answers() == ["resume of slot gpu1"] * 2
    here.open("gpu0")
    here.submit_many(2)
    assert answers() == [None, "resume of slot gpu1"]


def test_a_slot_that_drains_or_is_silent_is_not_waited_for(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    here.submit()
    job_id = here.submit()
    assert here.forecast(job_id).waiting_for is None
    here.store.drain("gpu0", OWNER)
    assert here.forecast(job_id).waiting_for == "model m"
    here.open("gpu0")
    here.redis.zadd(keys.LEASES, {"gpu0": 1})
    here.sweep()
    waiting = job_id if here.at()[0] != job_id else here.redis.zrange(keys.STATE + "queued", 0, 0)[0]
    assert here.forecast(waiting).waiting_for == "model m"


def test_bound_and_ended_jobs_have_no_place(driver: Open) -> None:
    here = driver()
    here.open()
    job_id = here.submit()
    assert here.forecast(job_id).position == 0
    here.start()
    assert here.forecast(job_id).position == 0
    here.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=1)
    assert here.forecast(job_id).position == 0
    here.store.cancel(job_id)
    assert here.forecast(job_id).position is None


def test_the_expected_time_is_that_of_the_slots_own_device(driver: Open) -> None:
    here = driver()
    here.open("fast")
    here.open("slow")
    for slot, run_s in (("fast", 1.0), ("slow", 10.0)):
        here.store.heartbeat(slot, OWNER, {"device_name": slot})
        job_id = here.submit(pin=slot, work=1)
        here.store.start(job_id, 1, slot=slot, owner=OWNER, device="cpu", run="r")
        here.store.finish_run(job_id, 1, slot=slot, node="", run_s=run_s)
    assert [here.forecast(here.submit(pin=slot, work=2)).eta_s for slot in ("fast", "slow")] == [2.0, 20.0]
