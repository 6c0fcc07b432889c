"""Jobs that share the run of another one: which do, what each costs, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.store import keys
from tests.support.store_driver import OWNER, StoreDriver

Driver = Callable[..., StoreDriver]


@pytest.fixture
def queue(driver: Driver) -> StoreDriver:
    here = driver()
    here.open("gpu0", "m", "n")
    return here


def share(here: StoreDriver, most: int = 4) -> tuple[str, list[str]]:
    """Start the slot's job and let others share its run; return it, and them."""
    leader = here.start()
    return leader, joined(here, leader, most)


def joined(here: StoreDriver, leader: str, most: int = 4) -> list[str]:
    attempt = here.store.get(leader).attempt
    return [job.job_id for job in here.store.join(leader, attempt, slot="gpu0", most=most)]


def end(here: StoreDriver, job_id: str, seconds: float = 1.0) -> bool:
    attempt = here.store.get(job_id).attempt
    return here.store.finish_run(job_id, attempt, slot="gpu0", node="", run_s=seconds)


def states(here: StoreDriver, *job_ids: str) -> list[str]:
    return [here.state(job_id) for job_id in job_ids]


def test_equal_jobs_share_a_run_and_each_has_its_own_attempt_and_end(queue: StoreDriver) -> None:
    first, *others, last = queue.submit_many(5)
    leader, companions = share(queue)
    assert (leader, companions) == (first, others)
    assert states(queue, *others, last) == ["running", "running", "running", "queued"]
    assert [queue.store.get(job_id).attempt for job_id in others] == [1, 1, 1]
    assert {queue.store.get(job_id).batch_size for job_id in (first, *others)} == {4}
    assert end(queue, others[0])
    assert queue.store.fail(others[1], 1, code="x", message="x", slot="gpu0")
    assert queue.at() == (first, 1)  # the slot is busy until the leader's run ends
    assert end(queue, others[2])
    assert end(queue, first)
    assert states(queue, first, *others) == ["succeeded", "succeeded", "failed", "succeeded"]
    assert queue.at() == (last, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"model": "n"}, {"work": 2}, {"pin": "gpu1"}, {"max_run_s": 9}, {"pause_at_step": 1}, {"version": 2},
        {"start_within_s": 60, "late": True}, {"job_class": "off-peak", "behind": {"model": "n"}},
    ],
    ids=str,
)  # fmt: skip
def test_other_jobs_do_not(queue: StoreDriver, other: dict[str, Any]) -> None:
    queue.submit()
    late, behind = other.pop("late", False), other.pop("behind", None)
    if behind:
        queue.submit(**behind)
    job_id = queue.submit(**other)
    if late:
        queue.pass_deadline(job_id)
    assert share(queue)[1] == []
    assert queue.state(job_id) == "queued"


def test_texts_and_seeds_may_differ_but_not_whether_there_is_a_negative_prompt(queue: StoreDriver) -> None:
    queue.submit()
    same, other = queue.submit_many(2)
    texts = {"prompt": "a cat", "seed": 5, "output_format": "webp", "embed_metadata": False}
    queue.change_request(same, **texts)
    queue.change_request(other, **texts, negative_prompt="a dog")
    assert share(queue)[1] == [same]


def test_they_are_taken_in_the_order_of_the_queue(queue: StoreDriver) -> None:
    queue.submit("a")
    of_a = queue.submit_many(3, "a")
    urgent = queue.submit("a", priority=5)
    of_b = queue.submit("b")
    premium = queue.submit("c", job_class="premium")
    pinned = queue.submit("a", pin="gpu0")
    companions = share(queue, most=8)[1]
    assert companions[0] == pinned
    assert set(companions) == {*of_a, urgent, of_b, premium, pinned}
    assert companions.index(of_b) < companions.index(urgent) < companions.index(of_a[0])  # `a` was served more


def test_a_key_holds_no_more_jobs_than_its_limit(queue: StoreDriver) -> None:
    queue.limit("a", 2)
    of_a = queue.submit_many(4, "a")
    of_b = queue.submit("b")
    leader, companions = share(queue)
    assert (leader, set(companions)) == (of_a[0], {of_a[1], of_b})
    assert queue.active("a") == set(of_a[:2])
    end(queue, of_a[1])
    assert queue.active("a") == {of_a[0]}


def test_keys_share_the_time_of_the_run(driver: Driver) -> None:
    here = driver(usage_days=30)
    here.open("gpu0", "m", "n")
    jobs = [here.submit(key) for key in ("a", "b", "c", "c")]
    share(here)
    for job_id in (*jobs[1:], jobs[0]):
        assert end(here, job_id, seconds=8.0)
    used = {
        key: sum(float(text.split()[0]) for name in here.redis.keys(f"{keys.USAGE}{key}:*")
                 for text in here.redis.hvals(name))
        for key in "abc"
    }  # fmt: skip
    assert used == {"a": 2.0, "b": 2.0, "c": 4.0}
    served = {key: float(here.redis.hget(keys.SERVED, f"general|{key}|m")) for key in "abc"}
    assert served["c"] - served["a"] == pytest.approx(2.0)
    assert [here.store.get(job_id).run_s for job_id in jobs] == [8.0] * 4  # what each caller waited for
    assert float(here.redis.hget(keys.RATES, "m")) == pytest.approx(2.0)


def test_a_repeated_call_returns_the_same_jobs(queue: StoreDriver) -> None:
    queue.submit_many(6)
    leader, companions = share(queue, most=3)
    assert joined(queue, leader, most=6) == companions


@pytest.mark.parametrize("why", ["pause slot", "pause queue", "drain", "interrupt", "checkpoint", "cancelled"])
def test_a_run_takes_no_others_when_its_slot_or_job_may_not(queue: StoreDriver, why: str) -> None:
    first, other = queue.submit_many(2)
    queue.start()
    queue.store.progress(first, 1, "denoising", 1, 9, None, resumable=True)
    if why.startswith("pause"):
        queue.store.pause_slots("gpu0" if why == "pause slot" else keys.ALL)
    elif why == "drain":
        queue.store.drain("gpu0", OWNER)
    elif why == "interrupt":
        queue.store.pause(first)
    elif why == "checkpoint":
        queue.store.keep_checkpoint(first, 1, step=1, age_s=0, node="host")
    else:
        queue.store.cancel(first)
    assert joined(queue, first) == []
    assert queue.state(other) == "queued"


def test_a_shared_run_cannot_be_paused_or_preempted(queue: StoreDriver) -> None:
    first, *_ = queue.submit_many(2)
    queue.start()
    queue.store.progress(first, 1, "loading", 0, 9, None, resumable=True)
    joined(queue, first)
    job = queue.store.get(first)
    assert (job.resumable, job.not_resumable) == (False, "it shares its run with other jobs")


def test_a_cancelled_job_leaves_the_others_alone_and_the_worker_is_killed_only_when_all_are_over(
    queue: StoreDriver,
) -> None:
    first, second, third = queue.submit_many(3)
    share(queue)

    def overdue_s() -> float | None:
        return queue.store.heartbeat("gpu0", OWNER, {}).overdue_s

    assert queue.store.cancel(first) == (True, "gpu0")
    assert queue.store.cancel(second) == (True, "gpu0")
    assert overdue_s() is None
    assert queue.store.capacity("gpu0").active == [third]
    assert queue.store.capacity().spare == 0
    assert queue.store.purge(second) == "held"  # its worker has not left it
    queue.store.release(second, 1, slot="gpu0")
    assert queue.redis.exists(keys.JOB + second) == 0
    assert queue.store.cancel(third) == (True, "gpu0")
    assert overdue_s() is not None
    queue.store.release(third, 1, slot="gpu0")
    queue.store.release(first, 1, slot="gpu0")
    assert queue.at() == ("", 0)


def lose_child(here: StoreDriver, leader: str) -> None:
    here.store.lose(leader, 1)


def lapse(here: StoreDriver, _leader: str) -> None:
    here.silence("gpu0")


def replace_worker(here: StoreDriver, _leader: str) -> None:
    here.store.register("gpu0", "host:2:2", {"models": '["m"]'}, takeover=True)


def leave(here: StoreDriver, _leader: str) -> None:
    here.store.leave("gpu0", OWNER)


@pytest.mark.parametrize("die", [lose_child, lapse, replace_worker, leave])
def test_all_jobs_of_a_run_are_lost_and_run_again_with_the_slot_and_alone(queue: StoreDriver, die: Any) -> None:
    jobs = queue.submit_many(4)
    share(queue, most=3)
    die(queue, jobs[0])
    if not queue.at()[0]:
        queue.open("gpu0", "m", "n")
    counted = 0 if die is leave else 1
    assert [queue.store.get(job_id).starts for job_id in jobs[:3]] == [counted] * 3
    assert queue.at() == (jobs[0], 2)
    assert states(queue, *jobs) == ["queued"] * 4
    assert not end(queue, jobs[1])  # the old worker's result of a companion is refused: a fencing token protects it
    owner = queue.redis.hget(keys.SLOT + "gpu0", "owner")
    order = []
    while (at := queue.at())[0]:
        assert queue.store.start(*at, slot="gpu0", owner=owner, device="cpu", run="x")
        assert joined(queue, at[0]) == []  # one of them may have broken the run
        order.append(at[0])
        assert end(queue, at[0])
    assert order == jobs


def test_a_job_that_is_lost_alone_leaves_the_run_that_it_shared(queue: StoreDriver) -> None:
    first, lost, other = queue.submit_many(3)
    share(queue)
    assert queue.store.lose(lost, 1) == "queued"
    assert "leader" not in queue.store.read(lost)
    assert queue.redis.hget(keys.SLOT + "gpu0", "companions") == f"{other} 1"
    assert end(queue, other)
    assert end(queue, first)
    assert queue.at() == (lost, 2)


def test_jobs_whose_run_was_split_run_alone_in_their_order(queue: StoreDriver) -> None:
    jobs = queue.submit_many(4)
    share(queue, most=3)
    queue.store.split(jobs[0], 1, slot="gpu0")
    assert states(queue, *jobs) == ["running", "queued", "queued", "queued"]
    assert queue.store.get(jobs[0]).batch_size is None
    assert joined(queue, jobs[0]) == []
    assert [queue.store.get(job_id).starts for job_id in jobs] == [1, 0, 0, 0]
    assert queue.drain() == jobs


def test_jobs_that_the_worker_does_not_know_of_wait_again_when_its_run_ends(queue: StoreDriver) -> None:
    jobs = queue.submit_many(3)
    share(queue)  # the reply was lost
    assert end(queue, jobs[0])
    assert [queue.store.get(job_id).starts for job_id in jobs[1:]] == [0, 0]
    assert queue.drain() == jobs[1:]
