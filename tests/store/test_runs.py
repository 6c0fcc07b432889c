"""What a worker writes about its run, script by script: which calls are accepted, and what they change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from jobs.record import Output
from jobs.store import keys, previews
from jobs.store.runs import StepReply
from tests.support.store_driver import OWNER, StoreDriver

Open = Callable[..., StoreDriver]
OUTPUTS = [Output("outputs/a1/1.1/0.png", "image/png", 3, "0" * 64, 1, 1)]


def running(here: StoreDriver, **options: object) -> str:
    """Return a job that runs on gpu0."""
    job_id = here.submit(**options)
    here.open("gpu0")
    return here.start("gpu0") if here.at()[0] == job_id else job_id


# ---- start_run


def test_a_run_starts_on_the_slot_and_for_the_owner_that_it_was_bound_to(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.open("gpu0")
    call = {"slot": "gpu0", "owner": OWNER, "device": "cuda:0", "run": "r1"}
    for other in ({"owner": "host:2:2"}, {"slot": "gpu1"}):
        assert here.store.start(job_id, 1, **{**call, **other}) is None
    assert here.store.start(job_id, 2, **call) is None
    assert here.state(job_id) == "queued"
    job = here.store.start(job_id, 1, **call, facts={"loads": 3})
    assert job is not None
    assert (job.state, job.slot, job.starts) == ("running", "gpu0", 1)
    assert here.redis.hget(keys.SLOT + "gpu0", "loads") == "3"
    assert here.redis.zscore(keys.ASSIGNED, job_id) is None


def test_the_repeat_of_a_start_is_answered_alike_and_another_execution_is_refused(driver: Open) -> None:
    here = driver()
    job_id = here.submit()
    here.open("gpu0")
    start = lambda run: here.store.start(job_id, 1, slot="gpu0", owner=OWNER, device="cpu", run=run)  # noqa: E731
    assert start("r1") == start("r1")
    assert start("r2") is None
    assert here.redis.hget(keys.JOB + job_id, "starts") == "1"


# ---- report_progress, store_preview


def test_progress_is_written_and_answered_by_whether_somebody_asks_for_previews(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    assert here.store.progress(job_id, 1, "denoising", 2, 9, 1.25, 40) is StepReply.GO_ON
    record = here.store.read(job_id)
    written = {name: record[name] for name in ("stage", "step", "steps", "eta_s", "stage_percent")}
    assert written == {"stage": "denoising", "step": "2", "steps": "9", "eta_s": "1.25", "stage_percent": "40"}
    previews.ask(here.store, job_id)
    assert here.store.progress(job_id, 1, "denoising", 3, 9, None) is StepReply.SHOW
    record = here.store.read(job_id)
    assert (record["step"], record.get("eta_s"), record.get("stage_percent")) == ("3", None, None)
    assert here.store.progress(job_id, 2, "denoising", 4, 9, None) is StepReply.STOP
    here.store.cancel(job_id)
    assert here.store.progress(job_id, 1, "denoising", 4, 9, None) is StepReply.STOP
    assert here.store.read(job_id)["step"] == "3"


def test_a_preview_replaces_the_one_before_and_goes_with_the_run(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    for step in (1, 2):
        assert here.store.preview(job_id, 1, step, b"picture %d" % step, "image/webp")
    newest = previews.newest(here.store, job_id)
    assert newest is not None
    assert (newest.step, newest.content, newest.media_type) == (2, b"picture 2", "image/webp")
    assert here.redis.pttl(keys.PREVIEW + job_id) > 0
    assert not here.store.preview(job_id, 2, 3, b"", "image/webp")
    here.finish()
    assert previews.newest(here.store, job_id) is None


# ---- finish_run


def test_a_run_with_frames_waits_for_its_delivery_and_its_slot_takes_the_next_job(driver: Open) -> None:
    here = driver()
    job_id, after = running(here), here.submit()
    assert here.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=2)
    assert (here.at()[0], here.state(job_id)) == (after, "delivering")
    record = here.store.read(job_id)
    assert (record["node"], record["run_s"], record["stage"]) == ("host", "2.0000", "delivering")
    assert here.redis.zscore(keys.DELIVERING, job_id) is not None
    assert here.redis.zscore(keys.STATE + "delivering", job_id) is not None


def test_a_run_moves_the_measured_rate_by_three_tenths_and_a_command_does_not(driver: Open) -> None:
    here = driver()
    here.open("gpu0")
    rate = lambda: float(here.redis.hget(keys.RATES, "m") or 0)  # noqa: E731
    here.submit(work=2)
    here.finish(seconds=4)
    assert rate() == pytest.approx(2)
    here.submit(work=2)
    here.finish(seconds=24)
    assert rate() == pytest.approx(0.7 * 2 + 0.3 * 12)
    job_id = here.submit(work=1, command="load")
    here.start()
    here.store.finish_run(job_id, 1, slot="gpu0", node="", run_s=99, report={"held": 1})
    assert rate() == pytest.approx(0.7 * 2 + 0.3 * 12)
    assert json.loads(here.store.read(job_id)["report"]) == {"held": 1}


def test_outputs_that_a_worker_stored_itself_are_published_once(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    complete = lambda attempt, outputs: here.store.complete(  # noqa: E731
        job_id, attempt, slot="gpu0", run_s=1, outputs=outputs, result={"seed": 7}
    )
    assert complete(1, OUTPUTS)
    assert here.state(job_id) == "succeeded"
    assert json.loads(here.store.read(job_id)["result"]) == {"seed": 7}
    assert complete(1, OUTPUTS)  # the reply to the first call was lost
    assert here.redis.zscore(keys.DUE, OUTPUTS[0].key) is None
    other = [Output("outputs/a1/1.2/0.png", "image/png", 3, "1" * 64, 1, 1)]
    assert not complete(1, other)
    assert not complete(2, other)
    assert here.redis.zscore(keys.DUE, other[0].key) is not None
    assert here.redis.hget(keys.COUNTERS, "succeeded") == "1"


# ---- fail_run, lose_run, hand_back, recompute_run, release_slot


def test_a_failed_run_keeps_its_error_and_frees_its_slot(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    assert here.store.fail(job_id, 2, code="broken", message="x", slot="gpu0") is False
    assert here.at() == (job_id, 1)
    assert here.store.fail(job_id, 1, code="broken", message="x" * 3000, slot="gpu0") is True
    assert here.at() == ("", 0)
    error = here.store.get(job_id).error
    assert error is not None
    assert (error["code"], len(error["message"])) == ("broken", 2000)


def test_a_lost_run_waits_at_its_place_and_fails_after_the_last_attempt(driver: Open) -> None:
    here = driver(max_attempts=2)
    job_id, younger = running(here), here.submit()
    assert here.store.lose(job_id, 1) == "queued"
    assert here.at() == (job_id, 2)
    here.start()
    assert here.store.lose(job_id, 2) == "failed"
    assert here.at() == (younger, 1)
    error = here.store.get(job_id).error
    assert error is not None
    assert error["code"] == "worker_lost"
    assert here.redis.zscore(keys.DEAD, job_id) is not None
    assert here.store.lose("unknown", 1) == ""


@pytest.mark.parametrize("counted", [True, False])
def test_a_job_that_a_back_end_hands_back_waits_and_its_slot_is_blocked(driver: Open, counted: bool) -> None:
    here = driver(max_attempts=1)
    job_id = running(here)
    state = here.store.hand_back(job_id, 1, slot="gpu0", counted=counted, why="answers 500")
    assert here.at() == ("", 0)
    assert here.redis.hget(keys.SLOT + "gpu0", "blocked") == "answers 500"
    assert state == ("failed" if counted else "queued")
    if counted:
        error = here.store.get(job_id).error
        assert error is not None
        assert error["message"] == "all 1 attempts failed; last error of the back end: answers 500"
        return
    assert here.redis.hget(keys.JOB + job_id, "starts") == "0"
    here.open("gpu1")
    assert here.at("gpu1") == (job_id, 2)


def test_an_end_is_listed_once_unless_its_process_reports_it(driver: Open) -> None:
    here = driver(max_attempts=1)
    succeeded, handed_back = running(here), here.submit()
    here.store.finish_run(succeeded, 1, slot="gpu0", node="", run_s=1)
    here.start()
    assert here.store.hand_back(handed_back, 1, slot="gpu0", counted=True, why="answers 500") == "failed"
    assert here.store.hand_back(handed_back, 1, slot="gpu0", counted=True, why="answers 500") == ""  # it was over
    assert here.store.take_ends() == []
    cancelled, late = here.submit(), here.submit(start_within_s=0.001)
    here.store.cancel(cancelled)
    time.sleep(0.01)
    here.open("gpu1")  # looks for a job, and ends those past their deadline
    assert here.state(late) == "expired"
    assert here.store.take_ends() == [(cancelled, "cancelled"), (late, "expired")]
    assert here.store.take_ends() == []


def test_a_job_handed_back_late_blocks_no_slot(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    here.store.lose(job_id, 1)
    assert here.store.hand_back(job_id, 1, slot="gpu0", counted=True, why="answers 500") == "queued"
    assert here.at() == (job_id, 2)
    assert not here.redis.hget(keys.SLOT + "gpu0", "blocked")


@pytest.mark.parametrize("max_attempts", [1, 2])
def test_a_job_whose_frames_are_gone_runs_again_unless_it_ran_too_often(driver: Open, max_attempts: int) -> None:
    here = driver(max_attempts=max_attempts)
    job_id = running(here)
    here.store.recompute(job_id, 1)
    assert here.state(job_id) == "running"
    here.store.finish_run(job_id, 1, slot="gpu0", node="host", run_s=1)
    here.store.recompute(job_id, 1)
    if max_attempts == 1:
        error = here.store.get(job_id).error
        assert error is not None
        assert (here.at(), error["code"]) == (("", 0), "output_lost")
    else:
        assert here.at() == (job_id, 2)
        assert here.redis.zscore(keys.DELIVERING, job_id) is None


def test_a_slot_is_released_by_the_attempt_that_it_holds_only(driver: Open) -> None:
    here = driver()
    job_id, after = running(here), here.submit()
    here.store.cancel(job_id)
    assert here.at() == (job_id, 1)
    for other in (("unknown", 1, "gpu0"), (job_id, 2, "gpu0"), (job_id, 1, "gpu1")):
        here.store.release(other[0], other[1], slot=other[2])
        assert here.at() == (job_id, 1)
    here.store.release(job_id, 1, slot="gpu0")
    assert here.at() == (after, 1)


# ---- cancel, delete_job, move_to_front: calls of a caller during a run


def test_a_cancellation_says_which_worker_must_stop(driver: Open) -> None:
    here = driver()
    job_id, waiting = running(here), here.submit()
    assert here.store.cancel(waiting) == (True, None)
    assert here.store.cancel(job_id) == (True, "gpu0")
    assert here.store.cancel(job_id) == (False, None)
    bound, after = here.submit(), here.submit()
    here.store.release(job_id, 1, slot="gpu0")
    assert here.at()[0] == bound
    assert here.store.cancel(bound) == (True, None)  # its run has not started, so the slot is free at once
    assert here.at() == (after, 1)


def test_a_job_is_deleted_when_its_worker_has_stopped(driver: Open) -> None:
    here = driver()
    job_id = running(here)
    delete = lambda: here.store.script("delete_job", id=job_id)  # noqa: E731
    assert delete() == "live"
    here.store.cancel(job_id)
    assert delete() == "held"
    here.store.release(job_id, 1, slot="gpu0")
    assert delete() == "gone"
    assert here.store.script("delete_job", id="never") == "unknown"
    ended = here.submit()
    here.finish()
    assert here.store.script("delete_job", id=ended) == "deleted"
    assert here.redis.exists(keys.JOB + ended) == 0


def test_a_pinned_job_moves_to_the_front_of_its_slot_only(driver: Open) -> None:
    here = driver()
    first = running(here)
    second, third = (here.submit(pin="gpu0") for _ in range(2))
    fourth, fifth = here.submit(), here.submit()
    for job_id in (third, fifth):
        assert here.store.script("move_to_front", id=job_id) == "moved"
    assert here.store.script("move_to_front", id=first) == "running"
    assert here.store.script("move_to_front", id="never") == "unknown"
    assert here.drain() == [first, third, second, fifth, fourth]
