"""A job whose checkpoint is on one host goes on there, if a slot of that host is free soon enough."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.store import keys
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]
STEPS, DONE = 100, 60


@pytest.fixture
def here(driver: Open) -> StoreDriver:
    """A long job waits after its run on slot a.gpu0, which does something else now; it has a checkpoint at host a."""
    return waiting(driver())


def waiting(here: StoreDriver, key: str = "") -> StoreDriver:
    here.know(m=1)
    here.open("a.gpu0", node="a")
    here.submit("film", job_id="film", work=STEPS)
    here.start("a.gpu0")
    here.submit("other", job_id="other", priority=9)
    interrupt(here, key=key)
    assert here.at("a.gpu0")[0] == "other"
    return here


def interrupt(here: StoreDriver, slot: str = "a.gpu0", key: str = "") -> None:
    job_id, attempt = here.at(slot)
    here.store.progress(job_id, attempt, "denoising", DONE, STEPS, None, resumable=True)
    here.store.keep_checkpoint(job_id, attempt, step=DONE, age_s=0, node=slot.split(".")[0], key=key)
    here.store.hand_over(job_id, attempt, slot=slot)


def beat(here: StoreDriver, slot: str) -> str:
    return here.store.heartbeat(slot, "host:1:1", {}).job_id


def let_time_pass(here: StoreDriver, seconds: float) -> None:
    skipped_at = int(here.redis.hget(keys.JOB + "film", "skipped_at"))
    here.redis.hset(keys.JOB + "film", "skipped_at", skipped_at - int(1000 * seconds))


def test_the_job_leaves_an_idle_slot_of_another_host_alone_and_goes_on_at_its_own(here: StoreDriver) -> None:
    here.open("b.gpu0", node="b")
    assert not here.at("b.gpu0")[0]
    forecast = here.forecast("film")
    assert (forecast.position, forecast.waiting_for) == (1, "a slot of host a, which has its checkpoint")
    here.finish("a.gpu0")
    assert here.at("a.gpu0")[0] == "film"
    assert here.forecast("film").waiting_for is None


def test_jobs_behind_it_take_the_slots_of_other_hosts(here: StoreDriver) -> None:
    behind = [here.submit("film", work=2), here.submit("late", work=2)]
    here.open("b.gpu0", node="b")
    assert sorted(here.drain("b.gpu0")) == sorted(behind)
    assert here.state("film") == "queued"


def test_an_idle_slot_of_its_host_takes_it_at_once(driver: Open) -> None:
    here = driver()
    here.know(m=1)
    here.open("a.gpu0", node="a")
    here.submit("film", job_id="film", work=STEPS)
    here.start("a.gpu0")
    here.open("b.gpu0", "m", node="b", resident="m")  # idle for longer, and with the model
    here.open("a.gpu1", node="a")
    here.store.pause_slots("a.gpu0")
    interrupt(here)
    assert here.at("a.gpu1")[0] == "film"


@pytest.mark.parametrize(("seconds", "takes"), [(29, False), (31, True)])
def test_it_begins_anew_elsewhere_when_it_would_wait_for_too_long(
    here: StoreDriver, seconds: float, takes: bool
) -> None:
    here.open("b.gpu0", node="b")
    let_time_pass(here, seconds)
    assert beat(here, "b.gpu0") == ("film" if takes else "")


@pytest.mark.parametrize(("seconds", "takes"), [(5, False), (7, True)])
def test_it_waits_no_longer_than_what_would_be_lost_took(here: StoreDriver, seconds: float, takes: bool) -> None:
    here.know(m=0.1)  # so that DONE steps take six seconds
    here.open("b.gpu0", node="b")
    let_time_pass(here, seconds)
    assert beat(here, "b.gpu0") == ("film" if takes else "")


def test_it_goes_on_anywhere_from_a_checkpoint_in_the_object_store(driver: Open) -> None:
    here = waiting(driver(), key="checkpoints/film/1.60.checkpoint")
    here.open("b.gpu0", node="b")
    assert here.at("b.gpu0")[0] == "film"


def test_each_wait_is_bounded_anew(here: StoreDriver) -> None:
    here.open("b.gpu0", node="b")
    let_time_pass(here, 25)
    here.finish("a.gpu0")
    assert here.start("a.gpu0") == "film"
    here.store.pause_slots("a.gpu0")
    interrupt(here)
    assert here.forecast("film").waiting_for == "a slot of host a, which has its checkpoint"
    let_time_pass(here, 20)
    assert not beat(here, "b.gpu0")


def test_affinity_to_models_and_to_hosts_go_together(here: StoreDriver) -> None:
    """A slot of another host that has the model in memory does not get the job either."""
    cold = here.submit("late", model="cold")
    here.open("b.gpu0", "m", "cold", node="b", resident="m")
    assert here.at("b.gpu0")[0] == cold
    assert here.state("film") == "queued"


def test_a_job_behind_many_that_wait_for_a_host_gets_the_slot_of_another_one(driver: Open) -> None:
    here = driver()
    here.know(m=1)
    slots = [f"a.gpu{index}" for index in range(12)]
    for slot in slots:
        here.open(slot, node="a")
        here.submit("film", work=STEPS)
        here.start(slot)
    for slot in slots:
        here.store.pause_slots(slot)
        interrupt(here, slot)
    behind = here.submit("film")
    here.open("b.gpu0", node="b")
    assert here.drain("b.gpu0") == [behind]
