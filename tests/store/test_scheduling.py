"""Which job runs next: order inside a key, shares of keys and classes, models in memory, running limits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]

# ---- inside a key


def test_jobs_of_one_key_run_in_the_order_they_came(driver: Open) -> None:
    here = driver()
    ids = here.submit_many(8)
    here.open()
    assert here.drain() == ids


def test_a_free_slot_takes_a_new_job_at_once(driver: Open) -> None:
    here = driver()
    here.open()
    accepted = here.accept()
    assert accepted.job is not None
    assert (accepted.job.slot, accepted.job.attempt) == ("gpu0", 1)
    assert here.at() == (accepted.job_id, 1)


def test_pinned_jobs_go_first_on_their_slot_only(driver: Open) -> None:
    here = driver()
    shared = here.submit_many(2)
    pinned = here.submit_many(2, pin="gpu1")
    here.open("gpu0")
    assert here.drain("gpu0") == shared
    shared = here.submit("b")
    assert here.finish("gpu0") == shared
    here.store.pause_slots("gpu0")
    shared = here.submit("b")
    here.open("gpu1")
    assert here.drain("gpu1") == [*pinned, shared]


def test_a_job_moved_to_the_front_goes_before_all_keys_and_classes(driver: Open) -> None:
    here = driver()
    here.submit_many(3, "vip", job_class="premium", priority=100)
    here.submit_many(3)
    moved = here.submit("late")
    here.store.move_to_front(moved)
    here.open()
    assert here.finish() == moved


def test_priority_counts_before_age_inside_a_key(driver: Open) -> None:
    here = driver()
    low, first, second, high = (here.submit(priority=priority) for priority in (-5, 0, 0, 5))
    here.open()
    assert here.drain() == [high, first, second, low]


def test_priority_of_one_key_does_not_move_it_before_another(driver: Open) -> None:
    here = driver()
    polite = here.submit_many(4, "a")
    here.submit_many(4, "b", priority=100)
    here.open()
    assert set(here.take(8)[::2]) == set(polite)


# ---- between keys of a class


def test_a_key_with_a_hundred_jobs_does_not_delay_a_key_with_one(driver: Open) -> None:
    here = driver()
    here.submit_many(100, "many")
    here.open()
    here.take(5)
    single = here.submit("one")
    assert single in here.take(2)


def test_shares_are_measured_in_seconds_not_in_jobs(driver: Open) -> None:
    """A key whose jobs take ten times as long gets a tenth of the turns."""
    here = driver()
    here.know(m=1)
    here.submit_many(20, "long", work=10)
    here.submit_many(60, "short", work=1)
    here.open()
    turns = Counter()
    for _ in range(44):
        job_id, _ = here.at()
        key = job_id.rstrip("0123456789")
        here.finish(seconds=10 if key == "long" else 1)
        turns[key] += 1
    assert turns == {"long": 4, "short": 40}


def test_a_wrong_estimate_is_corrected_when_the_run_was_measured(driver: Open) -> None:
    """Both keys ask for the same work; one of them takes ten times as long."""
    here = driver()
    here.submit_many(20, "slow")
    here.submit_many(60, "fast")
    here.open()
    turns = Counter()
    for _ in range(44):
        key = here.at()[0].rstrip("0123456789")
        here.finish(seconds=10 if key == "slow" else 1)
        turns[key] += 1
    assert turns["fast"] in range(38, 42)


def test_a_key_that_returns_starts_level_with_the_others(driver: Open) -> None:
    here = driver()
    here.submit("rare")
    here.submit_many(40, "busy")
    here.open()
    here.take(31)
    here.submit_many(10, "rare")
    shares = Counter(job_id.rstrip("0123456789") for job_id in here.take(9)[1:])
    assert shares == {"rare": 4, "busy": 4}


# ---- between classes


def order_of_classes(ids: list[str]) -> str:
    return "".join(job_id[0] for job_id in ids)


def test_classes_share_turns_by_weight(driver: Open) -> None:
    here = driver(general_premium_ratio="1 3")
    here.submit_many(20, "g", job_class="general")
    here.submit_many(20, "p", job_class="premium")
    here.open()
    turns = order_of_classes(here.take(17)[1:])
    assert [turns[i : i + 4].count("p") for i in range(0, 16, 4)] == [3, 3, 3, 3]


@pytest.mark.parametrize("ratio", ["1 3", "2 1", "5 2"])
def test_over_many_turns_each_class_has_its_exact_share(driver: Open, ratio: str) -> None:
    here = driver(general_premium_ratio=ratio)
    here.submit_many(401, "g", job_class="general")
    here.submit_many(401, "p", job_class="premium")
    here.open()
    turns = order_of_classes(here.take(401)[1:])
    general, premium = map(int, ratio.split())
    assert turns.count("g") == pytest.approx(400 * general / (general + premium), abs=1)


def test_turns_a_class_does_not_use_go_to_the_other_at_once(driver: Open) -> None:
    here = driver(general_premium_ratio="1 3")
    here.submit_many(2, "p", job_class="premium")
    general = here.submit_many(6, "g", job_class="general")
    here.open()
    assert here.drain()[-5:] == general[1:]


@pytest.mark.parametrize("other_waits", [True, False], ids=["while the other waits", "while nobody waits"])
@pytest.mark.parametrize("returning", ["general", "premium"])
def test_a_class_that_returns_has_no_saved_up_turns(driver: Open, returning: str, other_waits: bool) -> None:
    here = driver(general_premium_ratio="1 3")
    staying = {"general": "premium", "premium": "general"}[returning]
    here.open()
    here.submit_many(100, "s", job_class=staying)
    here.take(90) if other_waits else here.drain()
    here.submit_many(30, "r", job_class=returning)
    here.submit_many(30, "s", job_class=staying)
    turns = order_of_classes(here.take(22)[2:])
    assert turns.count("r") in ((14, 15, 16) if returning == "premium" else (4, 5, 6)), turns


# ---- models and slots


def test_slots_get_only_models_they_can_run(driver: Open) -> None:
    here = driver()
    a, b, pinned = here.submit(model="a"), here.submit(model="b"), here.submit(model="b", pin="gpu0")
    here.open("gpu0", "a")
    assert here.drain("gpu0") == [a]
    assert here.forecast(pinned).waiting_for == "slot gpu0"
    here.open("gpu1", "a", "b")
    assert here.drain("gpu1") == [b]


def test_of_the_idle_slots_the_one_with_the_model_in_memory_is_chosen(driver: Open) -> None:
    here = driver()
    for number in range(6):
        here.open(f"gpu{number}", "a", "b", resident="b,a" if number == 4 else "b")
    first, other = here.submit(model="a"), here.submit(model="a")
    assert here.at("gpu4")[0] == first
    assert here.store.get(other).slot not in (None, "gpu4")


def passed_by(here: StoreDriver, other: str, *, adversary: str, limit: int) -> int:
    """Return how many jobs of the loaded model run before ``other`` while an adversary submits one after another."""
    for number in range(limit):
        here.submit(adversary)
        if here.finish() == other:
            return number
    return limit


@pytest.mark.parametrize("adversary", ["a", "zz"], ids=["same key", "other key"])
@pytest.mark.parametrize("places", [0, 1, 4])
def test_a_job_of_another_model_is_passed_a_bounded_number_of_times(driver: Open, places: int, adversary: str) -> None:
    here = driver(affinity_places=places, affinity_s=1000)
    here.open("gpu0", "m", "cold", resident="m")
    here.submit(adversary)
    other = here.submit("a", model="cold")
    here.submit_many(3, adversary)
    assert here.finish() != other
    assert passed_by(here, other, adversary=adversary, limit=20) == places


def test_a_job_of_another_model_is_passed_for_a_bounded_time(driver: Open) -> None:
    here = driver(affinity_places=100_000, affinity_s=0.2)
    here.open("gpu0", "m", "cold", resident="m")
    here.submit("b")
    other = here.submit("a", model="cold")
    here.submit_many(3, "b")
    begun = time.monotonic()
    assert 0 < passed_by(here, other, adversary="b", limit=5000) < 5000
    assert 0.1 < time.monotonic() - begun < 5


def test_a_job_whose_model_is_in_memory_counts_no_passes(driver: Open) -> None:
    here = driver()
    here.open("gpu0", "m", "cold", resident="m")
    here.submit_many(3)
    here.take(2)
    assert "skips" not in here.store.read(here.at()[0])


# ---- running limits


def test_a_key_at_its_running_limit_waits_and_others_go_on(driver: Open) -> None:
    here = driver()
    here.limit("a", 1)
    mine, other = here.submit_many(2, "a"), here.submit_many(2, "b")
    for slot in ("gpu0", "gpu1", "gpu2"):
        here.open(slot)
    assert {here.at(slot)[0] for slot in ("gpu0", "gpu1", "gpu2")} == {mine[0], *other}
    holder = next(slot for slot in ("gpu0", "gpu1", "gpu2") if here.at(slot)[0] == mine[0])
    here.finish(holder)
    assert mine[1] in {here.at(slot)[0] for slot in ("gpu0", "gpu1", "gpu2")}


def test_pins_and_the_front_do_not_get_round_the_running_limit(driver: Open) -> None:
    here = driver()
    here.limit("a", 1)
    here.open("gpu0")
    first, pinned, front = here.submit("a"), here.submit("a", pin="gpu1"), here.submit("a")
    here.store.move_to_front(front)
    other = here.submit("b", pin="gpu1")
    here.open("gpu1")
    assert [here.at("gpu0")[0], here.at("gpu1")[0]] == [first, other]
    assert here.finish("gpu1") == other
    assert here.at("gpu1")[0] == ""
    here.finish("gpu0")
    assert {here.at("gpu0")[0], here.at("gpu1")[0]} < {pinned, front, ""}


def test_a_limit_that_is_free_again_feeds_the_idle_slot_that_the_next_job_needs(driver: Open) -> None:
    here = driver()
    here.limit("a", 1)
    here.open("gpu0", "x")
    here.open("gpu1", "y")
    here.submit("a", model="x")
    waiting = here.submit("a", model="y")
    assert here.at("gpu1")[0] == ""
    here.finish("gpu0")
    assert here.at("gpu1")[0] == waiting


ENDINGS: dict[str, Callable[[StoreDriver, str], object]] = {
    "success": lambda here, job: here.finish(),
    "delivery": lambda here, job: here.store.finish_run(job, 1, slot="gpu0", node="host", run_s=1),
    "failure": lambda here, job: here.store.fail(job, 1, code="x", message="x", slot="gpu0"),
    "stopped run": lambda here, job: (here.store.cancel(job), here.store.release(job, 1, slot="gpu0")),
    "lost child": lambda here, job: here.store.lose(job, 1),
    "lost child of a stopped run": lambda here, job: (here.store.cancel(job), here.store.lose(job, 1)),
    "hand-back": lambda here, job: here.store.leave("gpu0", OWNER),
    "hand-back of a stopped run": lambda here, job: (here.store.cancel(job), here.store.leave("gpu0", OWNER)),
    "swept slot": lambda here, job: here.silence("gpu0"),
    "swept slot of a stopped run": lambda here, job: (here.store.cancel(job), here.silence("gpu0")),
    "new worker": lambda here, job: here.open(),
    "new worker after a stopped run": lambda here, job: (here.store.cancel(job), here.open()),
}


@pytest.mark.parametrize("started", [True, False], ids=["running", "bound"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_every_end_of_a_run_frees_its_place_in_the_running_limit(driver: Open, ending: str, started: bool) -> None:
    here = driver()
    here.limit("a", 1)
    here.open()
    job_id = here.submit("a")
    here.store.pause_slots()
    if started or ending in ("delivery", "failure"):
        here.start()
    assert here.active("a") == {job_id}
    ENDINGS[ending](here, job_id)
    assert here.active("a") == set()
    here.open("gpu9")
    here.store.pause_slots(resume=True)
    assert here.state(job_id) != "queued" or here.at("gpu9")[0] == job_id or here.at("gpu0")[0] == job_id
