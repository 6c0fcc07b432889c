"""Fair shares where slots run different models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from jobs.store import keys
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]


def two_groups(driver: Open) -> StoreDriver:
    """Return a queue with a slot for model a, whose jobs take 100 s, and one for model b with jobs of 10 s."""
    here = driver(general_premium_ratio="1 3")
    here.know(a=1, b=1)
    here.open("gpu0", "a")
    here.open("gpu1", "b")
    return here


def test_a_key_that_is_new_starts_level_with_those_who_use_the_same_slots(driver: Open) -> None:
    here = two_groups(driver)
    here.submit_many(30, "long", model="a", work=100)
    here.submit_many(30, "short", model="b", work=10)
    for _ in range(10):
        here.finish("gpu1", 10)
        here.finish("gpu0", 100)
    new = here.submit("new", model="b", work=10)
    assert (here.forecast(new).position or 0) <= 2
    assert new in here.take(3, "gpu1", 10)


def test_what_a_class_got_at_other_slots_is_soon_forgotten(driver: Open) -> None:
    here = two_groups(driver)
    here.submit_many(40, "g", model="a", job_class="general")
    here.submit_many(60, "p", model="b", job_class="premium")
    here.take(30, "gpu1")  # premium runs alone here, while general runs alone on the other slot
    here.submit_many(40, "p", model="a", job_class="premium")
    turns = "".join(job_id[0] for job_id in here.take(21, "gpu0")[1:])
    assert turns.startswith("ggg")
    assert turns[-12:].count("p") == 9


def test_a_class_that_runs_alone_elsewhere_leaves_the_other_slots_to_others(driver: Open) -> None:
    here = two_groups(driver)
    here.submit_many(40, "g", model="a", job_class="general")
    here.submit_many(40, "p", model="a", job_class="premium")
    here.submit_many(40, "g", model="b", job_class="general")
    turns = ""
    for _ in range(12):
        turns += here.finish("gpu0")[0]
        here.finish("gpu1")
    assert turns[2:].count("g") <= 1


def test_a_key_that_is_served_elsewhere_leaves_these_slots_to_others(driver: Open) -> None:
    here = two_groups(driver)
    for key, model in (("one", "a"), ("both", "a"), ("both", "b")):
        here.submit_many(40, key, model=model)
    turns = []
    for _ in range(12):
        turns.append(here.finish("gpu0"))
        here.finish("gpu1")
    assert sum(job_id.startswith("both") for job_id in turns) <= 1


def test_a_key_is_next_soon_after_its_jobs_elsewhere_are_done(driver: Open) -> None:
    here = two_groups(driver)
    here.submit_many(20, "both", model="b", work=10)
    here.submit_many(40, "one", model="a", work=10)
    here.submit_many(40, "both", model="a", work=10)
    while here.at("gpu1")[0]:
        here.finish("gpu1", 10)
    turns = here.take(12, "gpu0", 10)
    assert sum(job_id.startswith("both") for job_id in turns) in (4, 5, 6)


def test_a_slot_with_more_models_is_shared_by_those_who_use_any_of_them(driver: Open) -> None:
    here = driver()
    here.know(a=1, b=1, c=1)
    here.open("gpu0", "a", "b")
    here.open("gpu1", "b", "c")
    for key, model in (("x", "a"), ("y", "b"), ("z", "c")):
        here.submit_many(40, key, model=model)
    done = Counter(here.finish(slot)[0] for _ in range(20) for slot in ("gpu0", "gpu1"))
    assert max(done.values()) - min(done.values()) <= 2


def test_a_job_waits_behind_those_that_can_take_its_slots_only(driver: Open) -> None:
    here = two_groups(driver)
    here.submit_many(20, "other", model="a")
    here.submit("b", model="b")
    first, second = here.submit("b", model="b"), here.submit("c", model="b")
    assert sorted(here.forecast(job_id).position or 0 for job_id in (first, second)) == [1, 2]


def test_a_key_whose_job_returns_stands_where_it_was_served_most(driver: Open) -> None:
    """Its job of the one model returns from a slot that is gone; it was served more for the other model."""
    here = driver()
    here.limit("a", 1)
    here.open("gpu0", "m")
    here.submit()
    here.submit()
    here.open("gpu1", "m", "n")
    here.open("gpu2", "n")
    here.submit_many(2, "b", model="n")
    here.submit(model="n")
    here.store.leave("gpu0", OWNER)
    served = float(here.redis.hget(keys.SERVED, "general|a|m"))
    assert here.redis.zscore(keys.READY + "general|m", "a") == pytest.approx(served) == pytest.approx(1)
