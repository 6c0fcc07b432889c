"""The reporter: how much it delays the steps, and how it handles previews."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from jobs.store import previews
from jobs.store.jobs import JobStore
from jobs.store.runs import StepReply
from tests.support.harness import wait_for
from tests.support.store_driver import StoreDriver

STEPS = 200


class Hanging(JobStore):
    """A store that does not respond until it is released."""

    def __init__(self, like: JobStore) -> None:
        super().__init__(like.settings)
        self.asked, self.go = threading.Event(), threading.Event()

    def progress(self, *_: Any, **__: Any) -> StepReply:
        self.asked.set()
        assert self.go.wait(60)
        return StepReply.GO_ON

    def preview(self, *_: Any) -> bool:
        self.asked.set()
        assert self.go.wait(60)
        return True


def running_job(here: StoreDriver) -> str:
    job_id = here.submit(preview=True)
    here.open()
    here.start()
    return job_id


def drawing(content: bytes = b"picture") -> Callable[[], tuple[bytes, str]]:
    return lambda: (content, "image/jpeg")


def test_steps_never_wait_for_a_store_that_hangs(driver: Callable[..., StoreDriver]) -> None:
    from workers.reporting.reporter import Reporter

    here = driver()
    job_id = running_job(here)
    store = Hanging(here.store)
    with Reporter(store, job_id, 1, STEPS, preview=True) as reporter:
        for done in range(1, STEPS + 1):
            reporter.step(done)
            if reporter.preview_due():
                reporter.preview(done, drawing())
            if done == 1:
                assert store.asked.wait(60)
        assert not store.go.is_set()  # all steps were done while the store was hanging
        store.go.set()


def test_previews_arrive_newest_first_and_seldom(driver: Callable[..., StoreDriver]) -> None:
    from workers.reporting.reporter import Reporter

    here = driver()
    job_id = running_job(here)
    with Reporter(here.store, job_id, 1, STEPS, preview=True) as reporter:
        assert reporter.preview_due()
        reporter.preview(3, drawing(b"three"))
        assert not reporter.preview_due()  # one at a time
        found = wait_for(lambda: previews.newest(here.store, job_id), "the preview")
        assert (found.step, found.attempt, found.content, found.media_type) == (3, 1, b"three", "image/jpeg")
        wait_for(reporter.preview_due, "the time for the next one")
    assert here.store.get(job_id).preview_step == 3


def test_a_drawing_that_fails_does_not_end_the_reports(driver: Callable[..., StoreDriver]) -> None:
    from workers.reporting.reporter import Reporter

    def broken() -> tuple[bytes, str]:
        raise ZeroDivisionError

    here = driver()
    job_id = running_job(here)
    with Reporter(here.store, job_id, 1, STEPS, preview=True) as reporter:
        reporter.preview(1, broken)
        wait_for(reporter.preview_due, "the next chance")
        reporter.step(2)
        wait_for(lambda: here.store.get(job_id).step == 2, "the report of a step")


def test_interest_is_heard_of_with_the_next_report(driver: Callable[..., StoreDriver]) -> None:
    from workers.reporting.reporter import Reporter

    here = driver()
    job_id = here.submit()
    here.open()
    here.start()
    with Reporter(here.store, job_id, 1, STEPS) as reporter:
        reporter.step(1)
        wait_for(lambda: here.store.get(job_id).step == 1, "the first report")
        assert not reporter.preview_wanted
        previews.ask(here.store, job_id)
        reporter.step(2)
        wait_for(lambda: reporter.preview_wanted, "the interest")
        here.redis.delete("framemill:preview_wanted:" + job_id)
        reporter.step(3)
        wait_for(lambda: not reporter.preview_wanted, "the end of the interest")


def test_a_picture_that_must_be_checked_first_has_no_previews(driver: Callable[..., StoreDriver]) -> None:
    from workers.reporting.reporter import Reporter

    here = driver()
    job_id = running_job(here)
    previews.ask(here.store, job_id)
    with Reporter(here.store, job_id, 1, STEPS, preview=True, hidden=True) as reporter:
        reporter.step(1)
        wait_for(lambda: here.store.get(job_id).step == 1, "the first report")
        assert not reporter.preview_due()


def test_an_attempt_that_is_over_shows_nothing(driver: Callable[..., StoreDriver]) -> None:
    here = driver()
    job_id = running_job(here)
    assert here.store.preview(job_id, 1, 1, b"old", "image/jpeg")
    here.store.lose(job_id, 1)  # it waits, and is bound again at once
    assert previews.newest(here.store, job_id) is None
    here.start()
    assert not here.store.preview(job_id, 1, 9, b"stale", "image/jpeg")
    assert previews.newest(here.store, job_id) is None
    assert here.store.preview(job_id, 2, 1, b"new", "image/jpeg")
    assert 0 < here.redis.pttl("framemill:preview:" + job_id) <= 300_000
    here.store.cancel(job_id)
    assert previews.newest(here.store, job_id) is None
    assert not here.store.preview(job_id, 2, 2, b"late", "image/jpeg")


def test_a_draft_is_shown_at_once_unless_previews_are_hidden(driver: Callable[..., StoreDriver]) -> None:
    from workers.reporting.reporter import Reporter

    here = driver()
    job_id = running_job(here)
    Reporter(here.store, job_id, 1, STEPS, hidden=True).show(2, drawing())
    assert previews.newest(here.store, job_id) is None
    Reporter(here.store, job_id, 1, STEPS).show(2, drawing(b"draft"))
    found = previews.newest(here.store, job_id)
    assert found is not None
    assert (found.step, found.content) == (2, b"draft")
