"""Fair shares where slots run different models: each group of slots shares its own turns."""

from __future__ import annotations

from collections.abc import Callable

from tests.support.store_driver import StoreDriver

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


def test_classes_share_the_turns_of_each_group_of_slots(driver: Open) -> None:
    here = two_groups(driver)
    here.submit_many(40, "g", model="a", job_class="general")
    here.submit_many(60, "p", model="b", job_class="premium")
    here.take(30, "gpu1")  # premium runs alone here, while general runs alone on the other slot
    here.submit_many(40, "p", model="a", job_class="premium")
    turns = "".join(job_id[0] for job_id in here.take(21, "gpu0")[1:])
    assert turns.count("p") in (15, 16)


def test_a_slot_with_more_models_is_shared_by_those_who_use_any_of_them(driver: Open) -> None:
    here = driver()
    here.know(a=1, b=1, c=1)
    here.open("gpu0", "a", "b")
    here.open("gpu1", "b", "c")
    for key, model in (("x", "a"), ("y", "b"), ("z", "c")):
        here.submit_many(40, key, model=model)
    for _ in range(20):
        here.finish("gpu0")
        here.finish("gpu1")
    served = {key: float(here.redis.hget("framemill:served", f"general|{key}")) for key in "xyz"}
    assert max(served.values()) - min(served.values()) <= 2


def test_a_job_waits_behind_those_that_can_take_its_slots_only(driver: Open) -> None:
    here = two_groups(driver)
    here.submit_many(20, "other", model="a")
    here.submit("b", model="b")
    first, second = here.submit("b", model="b"), here.submit("c", model="b")
    assert sorted(here.forecast(job_id).position or 0 for job_id in (first, second)) == [1, 2]
