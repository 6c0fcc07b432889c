"""What a worker writes about its slot, and what keeps a slot from taking work."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from jobs.store import keys
from jobs.store.slots import SlotHeld
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]
FACTS = {"models": '["m"]'}
OTHER = "host:2:2"


# ---- whether a slot takes work


def drains(here: StoreDriver) -> None:
    here.store.drain("gpu0", OWNER)


def falls_silent(here: StoreDriver) -> None:
    here.redis.zadd(keys.LEASES, {"gpu0": 1})
    here.sweep()


def recovers(here: StoreDriver) -> None:
    here.store.heartbeat("gpu0", OWNER, {})


def is_paused(here: StoreDriver) -> None:
    here.store.pause_slots("gpu0")


def resumes(here: StoreDriver) -> None:
    here.store.pause_slots("gpu0", resume=True)


def is_blocked(here: StoreDriver) -> None:
    here.store.heartbeat("gpu0", OWNER, {"blocked": "spool"})


def is_unblocked(here: StoreDriver) -> None:
    here.store.heartbeat("gpu0", OWNER, {"blocked": ""})


def queue_pauses(here: StoreDriver) -> None:
    here.store.pause_slots()


def queue_resumes(here: StoreDriver) -> None:
    here.store.pause_slots(resume=True)


def starts_again(here: StoreDriver) -> None:
    here.open("gpu0")


#: What keeps gpu0 from taking work, what ends it, and what the forecast of a job names meanwhile.
OBSTACLES = [
    (drains, starts_again, "model m"),
    (falls_silent, recovers, "model m"),
    (is_paused, resumes, "resume of slot gpu0"),
    (is_blocked, is_unblocked, "room in the spool of slot gpu0 (spool)"),
    (queue_pauses, queue_resumes, "resume of the queue"),
]


@pytest.mark.parametrize(("begin", "end", "waiting_for"), OBSTACLES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_slot_that_may_take_no_work_gets_none_and_everybody_says_so(
    driver: Open, begin: Callable[[StoreDriver], None], end: Callable[[StoreDriver], None], waiting_for: str
) -> None:
    here = driver()
    here.open("gpu0")
    assert here.store.capacity().spare == 1
    begin(here)
    job_id = here.submit()
    here.sweep()
    assert here.at() == ("", 0)
    assert here.forecast(job_id).waiting_for == waiting_for
    assert here.store.capacity().spare == 0
    end(here)
    assert here.at() == (job_id, 1)


def test_several_obstacles_must_all_end(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    for begin in (is_paused, is_blocked, queue_pauses):
        begin(here)
    job_id = here.submit()
    assert here.forecast(job_id).waiting_for == "resume of slot gpu0"
    resumes(here)
    assert here.forecast(job_id).waiting_for == "room in the spool of slot gpu0 (spool)"
    is_unblocked(here)
    assert here.forecast(job_id).waiting_for == "resume of the queue"
    assert here.at() == ("", 0)
    queue_resumes(here)
    assert here.at() == (job_id, 1)


def test_a_slot_that_pulls_takes_work_while_a_request_of_its_worker_waits(driver: Open) -> None:
    here = driver()
    facts = {**FACTS, "away_lease_ms": 60_000}
    pull = lambda: here.store.pull("gpu0", OWNER, facts, most=1)[:3]  # noqa: E731
    assert pull() == ("gpu0", "", 0)
    here.store.heartbeat("gpu0", OWNER, {"open": ""})
    job_id = here.submit()
    assert here.at() == ("", 0)
    assert here.forecast(job_id).waiting_for is None  # its next request is expected
    assert pull() == ("gpu0", job_id, 1)


# ---- register_slot, heartbeat, set_slot_facts


def test_a_slot_is_taken_from_its_owner_only_when_the_owner_is_gone(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.open("gpu0")
    held = here.store.register("gpu0", OTHER, FACTS)
    assert isinstance(held, SlotHeld)
    assert held.owner == OWNER
    assert 0 < held.lapses_in_s <= here.store.settings.leases.slot_lease_s
    assert here.store.register("gpu0", OTHER, FACTS, takeover=True) is None
    assert here.at() == (job_id, 2)
    here.redis.zadd(keys.LEASES, {"gpu0": 1})
    assert here.store.register("gpu0", OWNER, FACTS) is None
    assert here.at() == (job_id, 3)


def test_a_heartbeat_says_for_how_long_the_job_should_have_stopped(driver: Open) -> None:
    here = driver()
    job_id = here.submit(max_run_s=60)
    here.open("gpu0")
    here.start()
    beat = here.store.heartbeat("gpu0", OWNER, {})
    assert (beat.held, beat.job_id, beat.attempt, beat.overdue_s) == (True, job_id, 1, None)
    here.redis.hincrby(keys.JOB + job_id, "started_at", -65_000)
    overdue_s = here.store.heartbeat("gpu0", OWNER, {}).overdue_s
    assert overdue_s == pytest.approx(5, abs=2)
    here.store.cancel(job_id)
    overdue_s = here.store.heartbeat("gpu0", OWNER, {}).overdue_s
    assert overdue_s == pytest.approx(0, abs=2)
    assert not here.store.heartbeat("gpu0", OTHER, {}).held


def test_facts_of_a_slot_are_written_by_its_owner_only(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    lease = here.redis.zscore(keys.LEASES, "gpu0")
    here.store.set_facts("gpu0", OWNER, {"resident": "m", "loads": 2})
    here.store.set_facts("gpu0", OTHER, {"resident": "n"})
    assert here.redis.hmget(keys.SLOT + "gpu0", "resident", "loads") == ["m", "2"]
    assert here.redis.zscore(keys.LEASES, "gpu0") == lease
    here.store.set_facts("gpu1", OWNER, {"resident": "m"})
    assert here.redis.exists(keys.SLOT + "gpu1") == 0


# ---- drain_slot, leave_slot


def test_a_draining_slot_ends_its_job_and_takes_no_other(driver: Open) -> None:
    here = driver()
    first, second = here.submit(), here.submit()
    here.open("gpu0")
    assert here.store.drain("gpu0", OTHER) == ("", False)
    assert here.store.drain("gpu0", OWNER) == (first, False)
    here.finish()
    assert (here.at(), here.state(second)) == (("", 0), "queued")


@pytest.mark.parametrize("started", [True, False])
def test_a_worker_that_leaves_hands_its_job_back_uncounted(driver: Open, started: bool) -> None:
    here = driver()
    job_id = here.submit()
    here.open("gpu0")
    if started:
        here.start()
    assert here.store.leave("gpu0", OTHER) is None
    assert here.store.leave("gpu0", OWNER) == job_id
    assert here.state(job_id) == "queued"
    assert int(here.redis.hget(keys.JOB + job_id, "starts") or 0) == 0
    assert here.redis.exists(keys.SLOT + "gpu0", keys.SLOTS, keys.LEASES, keys.IDLE) == 0
    here.open("gpu1")
    assert here.at("gpu1") == (job_id, 2)


def test_a_worker_that_leaves_while_its_job_is_stopped_ends_it(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.open("gpu0")
    here.start()
    here.store.cancel(job_id)
    assert here.store.leave("gpu0", OWNER) == job_id
    assert here.state(job_id) == "cancelled"
    assert here.active("a") == set()


# ---- capacity


def test_capacity_counts_free_slots_less_what_they_must_do_first(driver: Open) -> None:
    here = driver()
    for slot in ("gpu0", "gpu1"):
        here.open(slot)
    here.open("gpu2", "n")
    assert here.store.capacity().spare == 3
    assert (here.store.capacity(model="m").spare, here.store.capacity(slot="gpu2").spare) == (2, 1)
    first, second = here.submit(), here.submit()
    capacity = here.store.capacity(model="m")
    assert (capacity.spare, set(capacity.active), capacity.waiting) == (0, {first, second}, 0)
    slot = next(name for name in ("gpu0", "gpu1") if here.at(name)[0] == first)
    here.start(slot)
    here.store.progress(first, 1, "denoising", 1, 4, None)
    here.store.cancel(first)
    assert here.store.capacity(model="m").spare == 1  # free within a step
    here.submit()
    capacity = here.store.capacity(model="m")
    assert (capacity.spare, capacity.waiting) == (0, 1)  # … but a job waits for it


@pytest.mark.parametrize("stage", ["starting", "loading"])
def test_a_slot_whose_stopped_job_still_loads_its_model_is_not_free(driver: Open, stage: str) -> None:
    here = driver()
    here.open("gpu0")
    job_id = here.submit()
    here.start()
    here.store.progress(job_id, 1, stage, 0, 4, None)
    here.store.cancel(job_id)
    assert here.store.capacity().spare == 0
    here.store.release(job_id, 1, slot="gpu0")
    assert here.store.capacity().spare == 1


def test_capacity_counts_deliveries_as_work(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.open("gpu0")
    here.start()
    here.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=1)
    busy = here.store.capacity()
    assert (busy.spare, busy.active) == (0, [job_id])
    assert here.store.capacity(slot="gpu0").active == [job_id]
    assert here.store.capacity(slot="gpu1").active == []


def test_a_job_that_must_start_at_once_is_refused_by_the_same_count(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    here.open("gpu1", "n")
    submit = lambda job_id, **options: here.store.script(  # noqa: E731
        "submit", id=job_id, max_waiting=9, key_max_waiting=0, key_max_per_minute=0, idempotency_key="", fingerprint="",
        reuse_key="", start_within_ms=0, only_if_idle=1, only_slot=options.get("only_slot", ""),
        fields={"key": "a", "class": "general", "model": "m", "line": "general", "work": 1, "request": "{}"},
    )  # fmt: skip
    assert submit("x", only_slot="gpu2") == ["busy"]
    status, _, slot, forecast, _ = submit("x")
    assert (status, slot) == ("ok", "gpu0")
    assert forecast[0] == 0
    assert submit("x") == ["duplicate"]  # a repeated call is not refused because of its own job
    assert submit("y") == ["busy"]
    assert here.redis.hget(keys.COUNTERS, "submitted") == "1"


def test_a_sweep_sends_the_message_of_a_job_again_that_did_not_start(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.open("gpu0")
    here.redis.zadd(keys.ASSIGNED, {job_id: 1})
    here.sweep()
    assert here.redis.zscore(keys.ASSIGNED, job_id) > 1
    assert here.at() == (job_id, 1)


def test_a_sweep_gives_up_deliveries_of_a_host_that_stays_away(driver: Open) -> None:
    here = driver(node_grace_s=5)
    job_id = here.submit()
    here.open("gpu0")
    here.start()
    here.store.finish_run(job_id, 1, slot="gpu0", node=here.store.settings.node, run_s=1)
    due = lambda: here.redis.zadd(keys.DELIVERING, {job_id: 1})  # noqa: E731
    here.store.announce_node()
    due()
    here.redis.delete(keys.SWEPT_AT)
    sweep = here.store.sweep()
    assert sweep is not None
    assert [(one.job_id, one.node) for one in sweep.redeliveries] == [(job_id, here.store.settings.node)]
    here.store.withdraw_node()
    due()
    here.sweep()
    assert here.state(job_id) == "delivering"
    here.redis.hincrby(keys.JOB + job_id, "node_gone_at", -6000)
    due()
    here.sweep()
    assert here.state(job_id) == "queued"
    assert json.loads(here.redis.hget(keys.SLOT + "gpu0", "models") or "") == ["m"]
    assert here.at() == (job_id, 2)


def test_a_slot_yields_from_its_pause_to_its_resumption(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    here.open("gpu0")
    beat = lambda: here.store.heartbeat("gpu0", OWNER, {}).yields  # noqa: E731
    assert not beat()
    here.store.pause_slots("gpu0")
    assert not beat()
    here.store.pause_slots("gpu0", yields=True)
    assert beat()
    here.store.pause_slots("gpu0")  # a further pause changes nothing
    assert beat()
    job_id = here.submit()
    assert here.at("gpu0")[0] == ""
    here.store.pause_slots("gpu0", resume=True)
    assert not beat()
    assert here.at("gpu0")[0] == job_id
