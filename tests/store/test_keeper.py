"""Checkpoints of a real run that counts: where it stops, what it stores, and where the next attempt goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import RunInterrupted
from jobs.files import checkpoints
from jobs.store.lua.words import Interrupt
from tests.support.store_driver import OWNER, StoreDriver
from workers.checkpoints.keeper import RunKeeper
from workers.gpu import noop
from workers.reporting.reporter import Reporter

Open = Callable[..., StoreDriver]
STEPS = 8


class Runs:
    """Runs attempts of one job that counts its steps."""

    def __init__(self, here: StoreDriver, steps: int = STEPS) -> None:
        self.here, self.steps = here, steps
        self.job_id = here.submit(work=steps)
        here.open("gpu0")

    def run(self, *, interrupt_after: int = 0) -> list[int]:
        """Run the next attempt; return its steps. ``interrupt_after``: the step after which the job is interrupted."""
        store, done = self.here.store, []
        attempt = self.here.at("gpu0")[1]
        job = store.start(self.job_id, attempt, slot="gpu0", owner=OWNER, device="cpu", run=f"run{attempt}")
        assert job is not None

        def after_step(step: int) -> None:
            done.append(step)
            reporter._report()  # the thread would a few milliseconds later
            if step == interrupt_after:
                assert store.interrupt(self.job_id, Interrupt.DRAIN)
                reporter._send()

        try:
            with Reporter(store, self.job_id, attempt, self.steps, step=job.step or 0) as reporter:
                noop.count_steps(job.request, reporter, after_step, RunKeeper(store, job, attempt, reporter))
        except RunInterrupted:
            store.hand_over(self.job_id, attempt, slot="gpu0")
        else:
            store.finish_run(self.job_id, attempt, slot="gpu0", node="", run_s=1)
        return done


@pytest.fixture
def runs(driver: Open, tmp_path: Path) -> Runs:
    return Runs(driver(spool_dir=tmp_path))


def test_an_interrupted_run_stops_after_its_step_and_the_next_one_goes_on(runs: Runs) -> None:
    assert runs.run(interrupt_after=3) == [1, 2, 3]
    job = runs.here.store.get(runs.job_id)
    assert (job.state, job.starts, job.step) == ("queued", 0, 3)
    assert runs.run() == [4, 5, 6, 7, 8]
    job = runs.here.store.get(runs.job_id)
    assert (job.state, job.starts, job.resumed_from_step, job.run_warnings) == ("succeeded", 1, 3, [])


def test_a_run_is_interrupted_several_times(runs: Runs) -> None:
    assert [runs.run(interrupt_after=step) for step in (2, 5)] == [[1, 2], [3, 4, 5]]
    assert len(checkpoints.found(runs.here.store.settings, runs.job_id)) == 1
    assert runs.run() == [6, 7, 8]


def test_a_damaged_checkpoint_is_not_used_and_the_job_says_so(runs: Runs) -> None:
    runs.run(interrupt_after=3)
    (path,) = checkpoints.found(runs.here.store.settings, runs.job_id)
    path.write_bytes(path.read_bytes()[:-5])
    assert runs.run() == [1, 2, 3, 4, 5, 6, 7, 8]
    job = runs.here.store.get(runs.job_id)
    assert (job.resumed_from_step, job.run_warnings) == (None, ["a checkpoint could not be used: the file is damaged"])


def test_a_run_that_is_at_its_last_step_finishes(runs: Runs) -> None:
    assert runs.run(interrupt_after=STEPS) == list(range(1, STEPS + 1))
    assert runs.here.state(runs.job_id) == "succeeded"


def test_a_run_that_has_computed_nothing_is_handed_back_at_once(runs: Runs) -> None:
    store, here = runs.here.store, runs.here
    job = store.start(runs.job_id, 1, slot="gpu0", owner=OWNER, device="cpu", run="r")
    assert job is not None
    with pytest.raises(RunInterrupted), Reporter(store, runs.job_id, 1, STEPS) as reporter:
        reporter.can_resume()
        reporter.stage("loading")
        reporter._send()
        store.interrupt(runs.job_id, Interrupt.DRAIN)
        reporter._send()
        reporter.loading(1, 2)
    assert store.hand_over(runs.job_id, 1, slot="gpu0") == "queued"
    assert (here.store.get(runs.job_id).starts, here.store.get(runs.job_id).checkpoint) == (0, None)
