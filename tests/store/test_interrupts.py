"""Interrupted runs: who can be interrupted, what is kept of the run, and what its key is charged."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.states import Interrupt
from jobs.store import keys
from jobs.store.runs import StepReply
from tests.support.store_driver import StoreDriver

Open = Callable[..., StoreDriver]


def running(here: StoreDriver, *, steps: int = 10, resumable: bool = True) -> str:
    """Return a job that runs on gpu0 and has reported its second step."""
    here.submit(work=steps)
    here.open("gpu0")
    job_id = here.start("gpu0")
    here.store.progress(job_id, 1, "denoising", 2, steps, None, resumable=resumable)
    return job_id


def keep(here: StoreDriver, job_id: str, step: int, attempt: int = 1) -> bool:
    return here.store.keep_checkpoint(job_id, attempt, step=step, age_s=0, node="host")


def test_a_resumable_run_is_told_to_stop_with_its_next_report(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    assert here.store.interrupt(job_id, Interrupt.DRAIN)
    assert here.store.progress(job_id, 1, "denoising", 3, 10, None, resumable=True) is StepReply.INTERRUPT
    assert here.store.get(job_id).interrupt == "drain"


def test_only_a_run_that_can_be_resumed_is_interrupted(driver: Open) -> None:
    here = driver()
    job_id = running(here, resumable=False)
    assert not here.store.interrupt(job_id, Interrupt.DRAIN)
    waiting = here.submit()
    assert not here.store.interrupt(waiting, Interrupt.PAUSE)
    assert here.store.progress(job_id, 1, "denoising", 3, 10, None) is StepReply.GO_ON


def test_an_interrupt_lapses_when_the_run_turns_out_not_to_be_resumable(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    here.store.interrupt(job_id, Interrupt.PREEMPT)
    assert here.store.progress(job_id, 1, "denoising", 3, 10, None, not_resumable="has a cache") is StepReply.GO_ON
    job = here.store.get(job_id)
    assert (job.interrupt, job.resumable, job.not_resumable) == ("", False, "has a cache")


@pytest.mark.parametrize(
    ("first", "second", "accepted"),
    [("preempt", "drain", True), ("drain", "preempt", False), ("pause", "drain", False), ("drain", "pause", True)],
)
def test_a_stronger_reason_replaces_a_weaker_one(driver: Open, first: str, second: str, accepted: bool) -> None:
    here = driver()
    job_id = running(here)
    assert here.store.interrupt(job_id, Interrupt(first))
    assert here.store.interrupt(job_id, Interrupt(first))
    assert here.store.interrupt(job_id, Interrupt(second)) is accepted
    assert here.store.get(job_id).interrupt == (second if accepted else first)


def test_an_interrupted_run_waits_again_at_its_place_with_its_progress(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    younger = here.submit(work=10)
    here.store.interrupt(job_id, Interrupt.DRAIN)
    assert keep(here, job_id, 4)
    here.store.pause_slots("gpu0")
    assert here.store.hand_over(job_id, 1, slot="gpu0") == "queued"
    job = here.store.get(job_id)
    assert (job.state, job.starts, job.step, job.slot) == ("queued", 0, 4, None)
    assert (job.interrupt, job.resumable) == ("", False)
    assert job.checkpoint is not None
    assert {name: job.checkpoint[name] for name in ("step", "attempt", "node", "key")} == {
        "step": 4, "attempt": 1, "node": "host", "key": "",
    }  # fmt: skip
    assert here.forecast(job_id).position == 1
    assert here.forecast(younger).position == 2
    assert float(here.store.read(job_id)["work"]) == pytest.approx(6)
    assert float(here.redis.hget(keys.WORK, "m")) == pytest.approx(16)


def test_a_second_attempt_says_where_it_goes_on(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    keep(here, job_id, 4)
    here.store.lose(job_id, 1)
    here.start("gpu0")
    assert here.store.get(job_id).step == 4
    here.store.resume_run(job_id, 2, 3)  # the newest file was damaged
    job = here.store.get(job_id)
    assert (job.step, job.resumed_from_step) == (3, 3)
    assert float(here.store.read(job_id)["work"]) == pytest.approx(7)
    here.store.resume_run(job_id, 1, 9)  # an attempt that is over
    assert here.store.get(job_id).step == 3


def test_a_job_that_has_only_to_be_decoded_waits_like_others(driver: Open) -> None:
    here = driver()
    here.know(m=1)
    job_id = running(here)
    keep(here, job_id, 10)
    here.store.pause_slots("gpu0")
    first = here.submit(priority=1)
    here.store.hand_over(job_id, 1, slot="gpu0")
    here.store.pause_slots("gpu0", resume=True)
    assert here.at("gpu0")[0] == first
    last = here.submit()
    assert [here.forecast(each).position for each in (job_id, last)] == [1, 2]
    assert here.drain("gpu0") == [first, job_id, last]


def test_a_run_that_begins_anew_has_all_of_its_work(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    keep(here, job_id, 4)
    here.store.lose(job_id, 1)
    here.start("gpu0")
    here.store.resume_run(job_id, 2, 0)
    here.store.warn_of_run(job_id, 2, "a checkpoint does not fit")
    here.store.warn_of_run(job_id, 2, "a checkpoint does not fit")
    job = here.store.get(job_id)
    assert (job.step, job.resumed_from_step, job.checkpoint) == (0, None, None)
    assert job.run_warnings == ["a checkpoint does not fit"]
    assert float(here.store.read(job_id)["work"]) == pytest.approx(10)


def test_only_the_current_attempt_keeps_checkpoints(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    assert not keep(here, job_id, 4, attempt=2)
    here.store.cancel(job_id)
    assert not keep(here, job_id, 4)
    assert here.store.get(job_id).checkpoint is None


def test_checkpoints_go_with_the_end_of_the_job(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    keep(here, job_id, 4)
    here.finish("gpu0")
    record = here.store.read(job_id)
    assert not record.keys() & {"checkpoint", "interrupt", "resumable", "not_resumable"}
    assert here.redis.zscore(keys.DUE, f"{keys.CHECKPOINT_OBJECTS}{job_id}/") is not None


def test_what_was_computed_before_the_checkpoint_is_charged_and_the_rest_is_lost(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    here.redis.hincrby(keys.JOB + job_id, "started_at", -10_000)
    here.store.keep_checkpoint(job_id, 1, step=4, age_s=3, node="host")
    here.store.lose(job_id, 1)
    used = next(iter(here.redis.hgetall(here.redis.keys(keys.USAGE + "a:*")[0]).values())).split()
    gpu_s, lost_gpu_s = float(used[0]), float(used[1])
    assert gpu_s == pytest.approx(10, abs=0.5)
    assert lost_gpu_s == pytest.approx(3, abs=0.5)
    assert float(here.redis.hget(keys.SERVED, "general|a|m")) == pytest.approx(7 + 1, abs=0.5)  # it is bound again
