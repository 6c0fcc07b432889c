"""Preemption: which job takes whose slot, when, and within which bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.states import Interrupt
from jobs.store import keys
from jobs.store.measuring import families
from jobs.store.runs import StepReply
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]
STEPS = 100


@pytest.fixture
def here(driver: Open) -> StoreDriver:
    """A premium job may take the slot of a general or off-peak one if it would wait for more than two seconds."""
    return opened(driver)


def opened(driver: Open, **options: object) -> StoreDriver:
    here = driver(**{"preempt_after_s": 2.0, **options})
    here.know(m=1, n=1)
    here.sweep()
    return here


def report(here: StoreDriver, slot: str, step: int = 10, *, resumable: bool = True) -> StepReply:
    """Report a step of the run on a slot that needs a second for each."""
    job_id, attempt = here.at(slot)
    return here.store.progress(job_id, attempt, "denoising", step, STEPS, float(STEPS - step), resumable=resumable)


def run(here: StoreDriver, slot: str = "gpu0", key: str = "film", *models: str, resident: str = "", step: int = 10,
        resumable: bool = True, **options: object) -> str:  # fmt: skip
    """Open a slot; return a long job that runs there."""
    here.open(slot, *(models or ("m",)), resident=resident)
    job_id = here.submit(key, work=STEPS, **options)
    if here.at(slot)[0] != job_id:
        raise AssertionError("it runs elsewhere")
    here.start(slot)
    report(here, slot, step, resumable=resumable)
    return job_id


def premium(here: StoreDriver, key: str = "p", **options: object) -> str:
    return here.submit(key, **{"job_class": "premium", **options})


def preempted(here: StoreDriver) -> set[str]:
    """Return the jobs whose runs are to give their slot to another job."""
    names = here.redis.keys(keys.JOB + "*")
    return {n.removeprefix(keys.JOB) for n in names if here.redis.hget(n, "interrupt") == Interrupt.PREEMPT.value}


def hand_over(here: StoreDriver, slot: str, step: int) -> str:
    """Let the run of a slot store a checkpoint and end; return its job."""
    job_id, attempt = here.at(slot)
    here.store.keep_checkpoint(job_id, attempt, step=step, age_s=0, node="host")
    here.store.hand_over(job_id, attempt, slot=slot)
    return job_id


# ---- from the submission to the end


def test_a_premium_job_takes_the_slot_of_a_general_run(here: StoreDriver) -> None:
    film = run(here)
    accepted = here.accept("p", job_class="premium")
    assert accepted.preempted == (film,)
    assert report(here, "gpu0", 11) is StepReply.INTERRUPT
    hand_over(here, "gpu0", 11)
    assert here.at()[0] == accepted.job_id
    assert here.state(film) == "queued"
    assert here.store.get(film).preemptions == 1
    assert here.finish() == accepted.job_id
    assert here.at() == (film, 2)
    assert here.store.get(film).step == 11


def test_the_slot_goes_to_the_job_that_took_it_and_not_to_those_whose_turn_it_is(driver: Open) -> None:
    here = opened(driver, general_premium_ratio="100 1")
    film = run(here)
    waiting = here.submit_many(5, "other")
    image = premium(here)
    hand_over(here, "gpu0", 11)
    assert here.at()[0] == image
    assert here.finish() == image
    assert here.at()[0] in (film, waiting[0])


def test_both_say_what_happens(here: StoreDriver) -> None:
    film = run(here)
    image = premium(here)
    forecast = here.forecast(image)
    assert forecast.position == 1
    assert forecast.eta_s == pytest.approx(1 + 1, abs=0.1)  # a step of the film, and its own
    hand_over(here, "gpu0", 50)
    here.start()
    forecast = here.forecast(film)
    assert forecast.position == 1
    assert forecast.waiting_for == "a slot, since a job of a higher class took its own"
    assert forecast.eta_s == pytest.approx(1 + 50, abs=0.5)  # the image, and what is left of the film
    here.finish()
    assert here.forecast(film).waiting_for is None
    assert here.forecast(film).eta_s == pytest.approx(50, abs=0.5)


def test_what_the_run_used_is_charged_and_no_more(here: StoreDriver) -> None:
    film = run(here)
    here.redis.hincrby(keys.JOB + film, "started_at", -20_000)
    premium(here)
    hand_over(here, "gpu0", 20)
    assert float(here.redis.hget(keys.SERVED, "general|film|m")) == pytest.approx(20, abs=0.5)


# ---- who may


@pytest.mark.parametrize(
    ("job_class", "victim_class", "happens"),
    [("premium", "general", True), ("premium", "off-peak", True), ("general", "off-peak", True),
     ("premium", "premium", False), ("general", "general", False), ("general", "premium", False),
     ("off-peak", "general", False), ("off-peak", "off-peak", False)],
)  # fmt: skip
def test_only_classes_below_are_preempted(here: StoreDriver, job_class: str, victim_class: str, happens: bool) -> None:
    film = run(here, job_class=victim_class)
    here.submit("x", job_class=job_class)
    assert preempted(here) == ({film} if happens else set())


def test_the_setting_says_which_classes_may(driver: Open) -> None:
    here = opened(driver, class_preempts="premium:off-peak")
    film = run(here)
    night = run(here, "gpu1", "night", job_class="off-peak")
    premium(here)
    assert preempted(here) == {night}
    premium(here, "q")
    assert film not in preempted(here)


def test_nothing_is_preempted_by_default(driver: Open) -> None:
    here = driver()
    here.know(m=1)
    run(here)
    premium(here)
    here.sweep()
    assert preempted(here) == set()
    assert not here.redis.keys(keys.VICTIMS + "*")


def test_a_job_waits_if_a_slot_is_free_soon_enough(here: StoreDriver) -> None:
    run(here, step=99, job_class="premium")
    film = run(here, "gpu1", "other")
    premium(here)
    assert preempted(here) == set()  # gpu0 is free in a second
    premium(here, "q")
    premium(here, "r")
    premium(here, "s")
    assert preempted(here) == {film}


def test_a_job_that_has_waited_too_long_preempts_with_the_next_sweep(here: StoreDriver) -> None:
    film = run(here)
    report(here, "gpu0", 99, resumable=False)
    image = premium(here)
    assert preempted(here) == set()
    report(here, "gpu0", 30)
    here.redis.hincrby(keys.JOB + image, "created_at", -5_000)
    here.sweep()
    assert preempted(here) == {film}


# ---- who is preempted


def test_a_run_that_cannot_be_resumed_goes_on(here: StoreDriver) -> None:
    film = run(here, resumable=False)
    premium(here)
    assert preempted(here) == set()
    report(here, "gpu0", 11)
    here.sweep()
    assert preempted(here) == {film}


def test_a_run_goes_on_in_its_last_fifth(here: StoreDriver) -> None:
    run(here, step=80)
    film = run(here, "gpu1", "other", step=79)
    premium(here)
    premium(here, "q")
    assert preempted(here) == {film}


def test_a_job_is_preempted_twice_at_most(here: StoreDriver) -> None:
    film = run(here)
    for _ in range(2):
        image = premium(here)
        assert preempted(here) == {film}
        hand_over(here, "gpu0", 30)
        assert here.finish() == image
        assert here.start() == film
        report(here, "gpu0", 31)
    premium(here)
    here.sweep()
    assert preempted(here) == set()
    assert here.store.get(film).preemptions == 2


def test_those_that_were_preempted_less_often_come_first_then_those_that_began_last(here: StoreDriver) -> None:
    films = [run(here, f"gpu{n}", f"key{n}") for n in range(3)]
    for n, film in enumerate(films):
        here.redis.hincrby(keys.JOB + film, "started_at", -1000 * (3 - n))
    here.redis.hset(keys.JOB + films[2], "preemptions", 1)
    for n in range(3):
        here.store.heartbeat(f"gpu{n}", OWNER, {})
    order = []
    for key in "pqr":
        before = preempted(here)
        premium(here, key)
        order += preempted(here) - before
    assert order == [films[1], films[0], films[2]]


def test_slots_that_have_the_model_in_memory_come_first(here: StoreDriver) -> None:
    run(here, "gpu0", "a", "m", "n", resident="m")
    warm = run(here, "gpu1", "b", "m", "n", resident="m,n")
    run(here, "gpu2", "c", "m", "n", resident="m")
    premium(here, model="n")
    assert preempted(here) == {warm}


def test_loading_must_save_time(here: StoreDriver) -> None:
    """The model of the image, and that of the film when it goes on, would take 60 and 25 seconds to load."""
    for model, seconds in (("n", 60), ("m", 25)):
        here.store.measures.observe(families.LOAD, model, seconds=seconds)
    here.store.measures.publish()
    film = run(here, "gpu0", "film", "m", "n", resident="m", step=20)
    premium(here, model="n")
    assert preempted(here) == set()  # 80 seconds are left
    here.load("gpu0", "m,n")
    here.sweep()
    assert preempted(here) == {film}


def test_only_the_slot_that_a_job_is_pinned_to_is_taken(here: StoreDriver) -> None:
    films = [run(here, f"gpu{n}", f"key{n}") for n in range(3)]
    image = premium(here, pin="gpu1")
    assert preempted(here) == {films[1]}
    hand_over(here, "gpu1", 11)
    assert here.at("gpu1")[0] == image


def test_a_slot_that_does_not_run_the_model_is_not_taken(here: StoreDriver) -> None:
    run(here)
    premium(here, model="n")
    here.sweep()
    assert preempted(here) == set()


def test_a_job_that_an_operator_moved_to_the_front_keeps_its_slot(here: StoreDriver) -> None:
    film = here.submit("film", work=STEPS)
    here.store.move_to_front(film)
    here.open()
    here.start()
    report(here, "gpu0")
    premium(here)
    assert preempted(here) == set()


# ---- as many as wait


def test_no_more_runs_are_interrupted_than_jobs_wait(here: StoreDriver) -> None:
    films = {run(here, f"gpu{n}", f"key{n}") for n in range(4)}
    images = [premium(here, work=20) for _ in range(2)]
    here.sweep()
    assert len(preempted(here)) == 2
    stopping = [name for name in ("gpu0", "gpu1", "gpu2", "gpu3") if here.at(name)[0] in preempted(here)]
    for name in stopping:
        hand_over(here, name, 11)
    assert {here.at(name)[0] for name in stopping} == set(images)
    assert preempted(here) == set()
    assert {here.state(film) for film in films} == {"running", "queued"}


def test_the_limit_of_a_key_holds(here: StoreDriver) -> None:
    for n in range(3):
        run(here, f"gpu{n}", f"key{n}")
    here.limit("p", 1)
    for _ in range(3):
        premium(here, work=20)
    here.sweep()
    assert len(preempted(here)) == 1
    premium(here, "q", work=20)
    assert len(preempted(here)) == 2


def test_keys_share_the_slots_that_they_take(here: StoreDriver) -> None:
    for n in range(2):
        run(here, f"gpu{n}", f"key{n}", resumable=False)
    for _ in range(9):
        premium(here, "many", work=20)
    premium(here, "one", work=20)
    for n in range(2):
        report(here, f"gpu{n}")
    here.sweep()
    assert set(here.redis.keys(keys.RESERVED + "*")) == {f"{keys.RESERVED}premium|{key}|m" for key in ("many", "one")}


@pytest.mark.parametrize("how", ["cancelled", "bound elsewhere", "expired"])
def test_a_run_goes_on_if_the_job_that_wanted_its_slot_does_not_need_it(here: StoreDriver, how: str) -> None:
    film = run(here)
    image = premium(here, work=20, start_within_s=600)
    assert preempted(here) == {film}
    if how == "cancelled":
        here.store.cancel(image)
    elif how == "expired":
        here.pass_deadline(image)
        here.sweep()
    else:
        here.open("gpu1")
    assert report(here, "gpu0", 11) is StepReply.GO_ON
    assert not here.redis.keys(keys.RESERVED + "*")
    premium(here, "q")
    assert preempted(here) == {film}


def test_a_run_that_has_stopped_already_takes_its_slot_again(here: StoreDriver) -> None:
    film = run(here)
    image = premium(here)
    job_id, attempt = here.at()
    here.store.keep_checkpoint(job_id, attempt, step=11, age_s=0, node="host")
    here.store.cancel(image)
    here.store.hand_over(job_id, attempt, slot="gpu0")
    assert here.at() == (film, 2)
    assert here.store.get(film).preemptions == 0


@pytest.mark.parametrize("how", ["ends", "fails", "is cancelled", "is lost"])
def test_a_slot_that_becomes_free_in_another_way_goes_to_the_job_as_well(here: StoreDriver, how: str) -> None:
    film = run(here)
    others = here.submit_many(3, "other")
    image = premium(here)
    if how == "ends":
        here.finish()
    elif how == "fails":
        here.store.fail(film, 1, code="x", message="x", slot="gpu0")
    elif how == "is cancelled":
        here.store.cancel(film)
        here.store.release(film, 1, slot="gpu0")
    else:
        here.store.lose(film, 1)
    assert here.at()[0] == image
    assert others[0] not in preempted(here)


def test_a_slot_that_is_lost_is_not_waited_for(here: StoreDriver) -> None:
    run(here)
    film = run(here, "gpu1", "other")
    image = premium(here, work=20)
    [taken] = [name for name in ("gpu0", "gpu1") if here.at(name)[0] in preempted(here)]
    here.silence(taken)
    here.sweep()
    other = "gpu1" if taken == "gpu0" else "gpu0"
    assert preempted(here) == {here.at(other)[0]}
    hand_over(here, other, 11)
    assert here.at(other)[0] == image
    assert film


def test_a_run_that_turns_out_not_to_be_resumable_frees_the_reservation(here: StoreDriver) -> None:
    run(here)
    premium(here)
    assert report(here, "gpu0", 11, resumable=False) is StepReply.GO_ON
    assert not here.redis.keys(keys.RESERVED + "*")


def test_while_the_queue_is_paused_nothing_is_preempted(here: StoreDriver) -> None:
    film = run(here)
    here.store.pause_slots()
    premium(here)
    here.sweep()
    assert preempted(here) == set()
    here.store.pause_slots(resume=True)
    here.sweep()
    assert preempted(here) == {film}
