"""Deliveries: which process makes one, outages of the object store, and slots that wait for space in the spool."""

from __future__ import annotations

from collections.abc import Callable

from jobs.record import Output
from jobs.store import keys, queries
from tests.support.store_driver import StoreDriver

# ---- a slot whose spool is full


def test_a_slot_whose_spool_is_full_gets_nothing_until_there_is_room(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    first, second, third = here.submit(), here.submit(), here.submit()
    here.open("gpu0")
    here.open("gpu1")
    here.start("gpu0")
    here.store.finish_run(first, 1, slot="gpu0", node="host", run_s=1, blocked="delivery")
    assert (here.at("gpu0"), here.state(first)) == (("", 0), "delivering")
    assert here.at("gpu1")[0] == second
    here.finish("gpu1")
    assert here.at("gpu1")[0] == third  # only the other one continues
    fourth = here.submit()
    assert not here.store.heartbeat("gpu0", "host:1:1", {"blocked": "delivery"}).job_id
    here.sweep()
    assert here.at("gpu0")[0] == ""
    assert here.store.heartbeat("gpu0", "host:1:1", {"blocked": ""}).job_id == fourth
    assert here.at("gpu0") == (fourth, 1)


def test_a_job_says_that_it_waits_for_room(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    here.open("gpu0")
    here.store.heartbeat("gpu0", "host:1:1", {"blocked": "delivery"})
    job_id = here.submit()
    assert (here.at(), here.forecast(job_id).waiting_for) == (("", 0), "room in the spool of slot gpu0 (delivery)")
    here.store.register("gpu0", "host:1:1", {"models": '["m"]', "blocked": "delivery"})
    assert here.at() == ("", 0)
    here.store.register("gpu0", "host:1:1", {"models": '["m"]', "blocked": ""})
    assert here.at()[0] == job_id


# ---- an object store that is away


def computed(here: StoreDriver, number: int) -> list[str]:
    """Return jobs whose frames wait on ``host``."""
    here.open()
    ids = here.submit_many(number)
    for job_id in ids:
        here.start()
        here.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=1)
    return ids


def test_while_the_object_store_is_away_one_delivery_of_a_host_tries_it(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    first, second, third = computed(here, 3)
    assert here.store.claim(first, 1, "io:1") == 1
    assert here.store.claim(second, 1, "io:2") == 1  # the outage is not known yet
    here.store.defer(first, 1, "io:1", 60, away=True)
    assert here.store.claim(third, 1, "io:1") == 0
    assert here.store.claim(second, 1, "io:2") == 1  # it continues the delivery that it holds
    here.store.defer(second, 1, "io:2", 0, away=True)
    assert here.store.claim(third, 1, "io:1") == 1
    assert here.store.claim(first, 1, "io:2") == 0  # only one tries
    assert here.store.deliver(third, 1, "io:1", [])
    assert here.store.claim(first, 1, "io:2") == 2  # the object store is back
    assert here.store.claim(second, 1, "io:3") == 2


def test_a_job_says_what_its_delivery_waits_for(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    first, second, third = computed(here, 3)

    def reasons() -> list[str | None]:
        return [here.forecast(job_id).waiting_for for job_id in (first, second, third)]

    assert reasons() == ["a delivery worker"] * 3
    here.redis.zadd(keys.NODES, {"host": 2e9})
    assert reasons() == [None] * 3
    assert here.store.claim(first, 1, "io:1") == 1
    here.store.defer(first, 1, "io:1", 60, away=True, why="the object store: it is away")
    assert here.store.claim(second, 1, "io:1") == 0
    assert reasons() == ["the object store: it is away"] * 2 + [None]  # the third has not been tried
    assert queries.fleet(here.store).away_nodes == {"host": "the object store: it is away"}
    waiting = here.submit()
    here.store.heartbeat("gpu0", "host:1:1", {"blocked": "delivery", "node": "host"})
    here.start()
    here.store.finish_run(waiting, 1, slot="gpu0", node="host", run_s=1, blocked="delivery")
    assert here.forecast(here.submit()).waiting_for == (
        "room in the spool of slot gpu0 (delivery, for the object store: it is away)"
    )
    here.store.defer(first, 1, "io:1", 0, away=True)  # no longer its delivery: changes nothing
    here.redis.hset(keys.AWAY, "host", 1)
    assert here.store.claim(first, 1, "io:2") == 2
    assert here.store.deliver(first, 1, "io:2", [])
    assert reasons()[0] is None
    assert here.store.claim(second, 1, "io:2") == 1
    here.store.defer(second, 1, "io:2", 0, away=False, why="another attempt to store its output")
    assert reasons()[1] == "another attempt to store its output"
    assert queries.fleet(here.store).away_nodes == {}


def test_listeners_of_a_delivery_hear_the_reason_once(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    [job_id] = computed(here, 1)
    before = here.redis.xlen(keys.EVENTS)
    for number in range(3):
        here.store.claim(job_id, 1, f"io:{number}")
        here.store.defer(job_id, 1, f"io:{number}", 0, away=True, why="the object store: it is away")
    [(_, newest)] = here.redis.xrevrange(keys.EVENTS, count=1)
    assert '"delivery_problem":"the object store: it is away"' in newest["event"]
    assert here.redis.xlen(keys.EVENTS) == before + 1


def test_an_outage_of_any_length_is_no_failure_of_the_output(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    [job_id] = computed(here, 1)
    for number in range(1, 50):
        assert here.store.claim(job_id, 1, f"io:{number}") == number
        assert here.store.defer(job_id, 1, f"io:{number}", 0, away=True) == 0
    for failures in (1, 2):
        assert here.store.claim(job_id, 1, "io:x")
        assert here.store.defer(job_id, 1, "io:x", 0, away=False) == failures


# ---- one delivery at a time


def test_a_delivery_is_made_by_one_process_until_its_lease_lapses(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    [job_id] = computed(here, 1)
    assert here.store.claim(job_id, 2, "io:1") == 0
    assert here.store.claim(job_id, 1, "io:1") == 1
    assert here.store.claim(job_id, 1, "io:2") == 0
    assert here.store.claim(job_id, 1, "io:1") == 1  # renewed
    here.redis.hset(keys.JOB + job_id, "next_look_at", 1)
    assert here.store.claim(job_id, 1, "io:2") == 2
    assert here.store.defer(job_id, 1, "io:1", 0, away=False) == 0  # it no longer holds the delivery
    assert here.store.claim(job_id, 1, "io:2") == 2


def test_a_deferred_delivery_is_sent_again_at_its_time(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    [job_id] = computed(here, 1)
    here.store.claim(job_id, 1, "io:1")
    here.store.defer(job_id, 1, "io:1", 30, away=False)
    seconds, microseconds = here.redis.time()
    wait_ms = here.redis.zscore(keys.DELIVERING, job_id) - seconds * 1000 - microseconds / 1000
    assert 20_000 < wait_ms <= 30_000


def test_outputs_are_published_by_the_present_delivery_and_all_others_are_removed(
    driver: Callable[..., StoreDriver],
) -> None:
    here = driver()
    [job_id] = computed(here, 1)
    outputs = [[Output(f"outputs/{job_id}/1.{n}/0.png", "image/png", 3, "0" * 64, 1, 1)] for n in (1, 2)]
    here.store.claim(job_id, 1, "io:1")
    here.redis.hset(keys.JOB + job_id, "next_look_at", 1)
    here.store.claim(job_id, 1, "io:2")
    assert not here.store.deliver(job_id, 1, "io:1", outputs[0])
    assert here.store.deliver(job_id, 1, "io:2", outputs[1])
    assert here.store.deliver(job_id, 1, "io:2", outputs[1])  # the reply to the first call was lost
    assert [output.key for output in here.store.get(job_id).outputs] == [outputs[1][0].key]
    assert here.redis.zscore(keys.DUE, outputs[0][0].key) is not None
    assert here.redis.zscore(keys.DUE, outputs[1][0].key) is None
    assert here.redis.exists(keys.DELIVERING) == 0
    assert here.redis.hget(keys.COUNTERS, "succeeded") == "1"
