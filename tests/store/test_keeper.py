"""Checkpoints of a real run that counts: where it stops, what it stores, and where the next attempt goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import RunInterrupted
from jobs.files import checkpoint_objects, checkpoints, retention, spool
from jobs.objects.factory import open_store
from jobs.record import Job, new_job_id
from jobs.states import Interrupt
from jobs.store import keys
from jobs.store.jobs import JobStore
from tests.support.store_driver import OWNER, StoreDriver
from workers.checkpoints.keeper import RunKeeper, warn_of_missed_pause
from workers.gpu import noop
from workers.reporting.reporter import Reporter

Open = Callable[..., StoreDriver]
STEPS = 8


class Runs:
    """Runs attempts of one job that counts its steps, on a host with a folder of its own."""

    def __init__(self, here: StoreDriver, steps: int = STEPS, **options: Any) -> None:
        self.here, self.steps = here, steps
        self.job_id = here.submit(work=steps, job_id=new_job_id(), **options)
        here.open("gpu0", node=here.store.settings.node)

    def on_host(self, **options: object) -> JobStore:
        """Return the store of a worker with these settings."""
        return JobStore(self.here.store.settings.replace(**options))

    def run(
        self, store: JobStore | None = None, *, interrupt_after: int = 0, die_after: int = 0, interval_s: float = 0
    ) -> list[int]:
        """Run the next attempt; return its steps. It is interrupted, or its process dies, after one of them."""
        store, done = store or self.here.store, []
        attempt = self.here.at("gpu0")[1]
        job = store.start(self.job_id, attempt, slot="gpu0", owner=OWNER, device="cpu", run=f"run{attempt}")
        assert job is not None

        def after_step(step: int) -> None:
            done.append(step)
            if keeper._writing is not None:
                keeper._writing.join()
            if step == interrupt_after:
                reporter._send()
                assert store.interrupt(self.job_id, Interrupt.DRAIN)
                reporter._send()
            if step == die_after:
                raise ProcessLookupError

        objects = partial(open_store, store.settings)
        reporter = Reporter(store, self.job_id, attempt, self.steps, step=job.step or 0)
        try:
            with reporter:
                keeper = RunKeeper(store, job, attempt, reporter, interval_s, objects)
                noop.count_steps(job.request, reporter, after_step, keeper)
                warn_of_missed_pause(job, reporter)
        except RunInterrupted as exc:
            store.hand_over(self.job_id, attempt, slot="gpu0", pauses=exc.pauses)
        except ProcessLookupError:
            store.lose(self.job_id, attempt)
        else:
            store.finish_run(self.job_id, attempt, slot="gpu0", node="", run_s=1)
        return done

    @property
    def job(self) -> Job:
        return self.here.store.get(self.job_id)

    def files(self) -> list[str]:
        return [file.name for file in checkpoints.found(self.here.store.settings, self.job_id)]


@pytest.fixture
def runs(driver: Open, tmp_path: Path) -> Runs:
    return Runs(driver(spool_dir=tmp_path / "here", spool_reserve_bytes=0))


@pytest.fixture(autouse=True)
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(noop.STEP_MS_VARIABLE, "10")


def test_an_interrupted_run_stops_after_its_step_and_the_next_one_goes_on(runs: Runs) -> None:
    assert runs.run(interrupt_after=3) == [1, 2, 3]
    assert (runs.job.state, runs.job.starts, runs.job.step) == ("queued", 0, 3)
    assert runs.run() == [4, 5, 6, 7, 8]
    assert (runs.job.state, runs.job.starts, runs.job.resumed_from_step) == ("succeeded", 1, 3)
    assert runs.job.all_warnings == []


def test_a_run_is_interrupted_several_times(runs: Runs) -> None:
    assert [runs.run(interrupt_after=step) for step in (2, 5)] == [[1, 2], [3, 4, 5]]
    assert runs.files() == ["2.5.checkpoint"]
    assert runs.run() == [6, 7, 8]


def test_a_lost_run_goes_on_after_its_newest_checkpoint(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.checkpoints.keeper.WRITING_SHARE", 1)
    assert runs.run(die_after=6, interval_s=0.005) == [1, 2, 3, 4, 5, 6]
    assert (runs.job.state, runs.job.starts) == ("queued", 1)
    assert runs.files() == ["1.5.checkpoint"]
    assert runs.run() == [6, 7, 8]
    assert (runs.job.starts, runs.job.resumed_from_step) == (2, 5)


@pytest.mark.parametrize(
    ("passed_s", "eta_s", "is_due"), [(15, 1000, False), (31, 10, False), (31, 40, True), (61, None, True)]
)
def test_a_run_shorter_than_two_intervals_stores_nothing(
    runs: Runs, passed_s: float, eta_s: float | None, is_due: bool
) -> None:
    store = runs.here.store
    job = store.start(runs.job_id, 1, slot="gpu0", owner=OWNER, device="cpu", run="r")
    assert job is not None
    with Reporter(store, runs.job_id, 1, STEPS) as reporter:
        keeper = RunKeeper(store, job, 1, reporter, 30, partial(open_store, store.settings))
        keeper._began -= passed_s
        keeper._next_at -= passed_s
        reporter._progress = replace(reporter._progress, eta_s=eta_s)
        assert keeper.is_due(5) is is_due


def test_a_damaged_checkpoint_is_not_used_and_the_job_says_so(runs: Runs) -> None:
    runs.run(interrupt_after=3)
    (file,) = checkpoints.found(runs.here.store.settings, runs.job_id)
    path = file.path(runs.here.store.settings)
    path.write_bytes(path.read_bytes()[:-5])
    assert runs.run() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert runs.job.resumed_from_step is None
    assert runs.job.all_warnings == ["a checkpoint could not be used: the file is damaged"]


def test_a_file_that_is_not_complete_is_not_seen(runs: Runs) -> None:
    runs.run(interrupt_after=3)
    folder = checkpoints.folder_of(runs.here.store.settings, runs.job_id)
    (folder / "9.7.checkpoint.part").write_text("{")
    assert runs.run() == [4, 5, 6, 7, 8]


def test_a_run_that_is_at_its_last_step_finishes(runs: Runs) -> None:
    assert runs.run(interrupt_after=STEPS) == list(range(1, STEPS + 1))
    assert runs.job.state == "succeeded"


def test_a_run_that_has_computed_nothing_is_handed_back_at_once(runs: Runs) -> None:
    store = runs.here.store
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
    assert (runs.job.starts, runs.job.checkpoint) == (0, None)


# ---- other hosts


def test_another_host_goes_on_from_the_object_store(runs: Runs, tmp_path: Path) -> None:
    hosts = [
        runs.on_host(checkpoint_store="objects", node_name=name, spool_dir=tmp_path / name) for name in ("one", "two")
    ]
    assert runs.run(hosts[0], interrupt_after=3) == [1, 2, 3]
    assert runs.job.checkpoint is not None
    assert (runs.job.checkpoint["node"], runs.job.checkpoint["key"]) == (
        "one", f"checkpoints/{runs.job_id}/1.3.checkpoint",
    )  # fmt: skip
    assert runs.run(hosts[1], interrupt_after=6) == [4, 5, 6]
    assert [file.name for file in checkpoint_objects.listed(open_store(hosts[0].settings), runs.job_id)] == [
        "2.6.checkpoint"
    ]
    assert runs.run(hosts[0]) == [7, 8]  # its own file is older than the one in the object store
    assert runs.job.resumed_from_step == 6
    retention.remove_due(runs.here.store, open_store(hosts[0].settings))
    assert checkpoint_objects.listed(open_store(hosts[0].settings), runs.job_id) == []


def test_without_the_object_store_another_host_begins_anew_and_the_job_says_so(runs: Runs, tmp_path: Path) -> None:
    # Without affinity_s a job does not wait for the host of its checkpoint.
    one, two = (runs.on_host(node_name=name, spool_dir=tmp_path / name, affinity_s=0) for name in ("one", "two"))
    runs.run(one, interrupt_after=3)
    assert runs.run(two) == list(range(1, STEPS + 1))
    assert runs.job.all_warnings == ["the run began anew: its checkpoint is on the host one"]
    assert (runs.job.checkpoint, runs.job.resumed_from_step) == (None, None)


def test_an_object_store_that_is_away_costs_no_run(runs: Runs, tmp_path: Path) -> None:
    away = runs.on_host(
        checkpoint_store="objects", s3_bucket="none", s3_endpoint_url="http://127.0.0.1:9", spool_dir=tmp_path / "one"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "x")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "x")
        assert runs.run(away, interrupt_after=3) == [1, 2, 3]
        assert runs.job.checkpoint is not None
        assert runs.job.checkpoint["key"] == ""
        assert runs.run(away) == [4, 5, 6, 7, 8]  # from the file of this host
    assert runs.job.all_warnings == []


# ---- limits and cleaning


@pytest.mark.parametrize(
    "options", [{"checkpoints_max_bytes": 10}, {"spool_reserve_bytes": 2**60}], ids=["limit", "reserve"]
)
def test_a_checkpoint_without_room_is_not_stored_and_the_run_finishes(runs: Runs, options: dict[str, int]) -> None:
    store = runs.on_host(**options)
    assert runs.run(store, interrupt_after=3) == list(range(1, STEPS + 1))
    assert runs.job.state == "succeeded"
    assert list(checkpoints.folder_of(store.settings, runs.job_id).iterdir()) == []


def test_the_checkpoints_of_other_jobs_count_and_its_own_older_ones_do_not(runs: Runs) -> None:
    runs.run(interrupt_after=2)
    (file,) = checkpoints.found(runs.here.store.settings, runs.job_id)
    size = file.path(runs.here.store.settings).stat().st_size
    assert checkpoints.used_bytes(runs.here.store.settings) == size
    assert runs.run(runs.on_host(checkpoints_max_bytes=size), interrupt_after=4) == [3, 4]
    other = checkpoints.folder_of(runs.here.store.settings, "other")
    other.mkdir()
    (other / "1.1.checkpoint").write_bytes(b"x")
    assert runs.run(runs.on_host(checkpoints_max_bytes=size), interrupt_after=6) == [5, 6, 7, 8]


def test_checkpoints_of_jobs_that_are_over_are_removed(runs: Runs) -> None:
    settings, store = runs.here.store.settings, runs.here.store
    runs.run(interrupt_after=3)
    unknown = checkpoints.folder_of(settings, "unknown")
    unknown.mkdir()
    assert checkpoints.tidy(settings, store) == []
    assert checkpoints.tidy(settings, store, age_s=0) == ["unknown"]
    assert runs.files() == ["1.3.checkpoint"]
    store.cancel(runs.job_id)
    assert checkpoints.tidy(settings, store) == [runs.job_id]
    assert not checkpoints.folder_of(settings, runs.job_id).exists()


def test_the_spool_does_not_count_checkpoints_as_frames(runs: Runs) -> None:
    settings = runs.here.store.settings
    runs.run(interrupt_after=3)
    assert spool.used_bytes(settings.spool_disk) == 0
    assert spool.tidy(settings, runs.here.store, age_s=0) == []
    assert runs.files() == ["1.3.checkpoint"]


def test_an_attempt_that_is_over_removes_its_own_checkpoint_only(runs: Runs) -> None:
    """Its process was given up, another attempt runs, and now it stores what it had."""
    store = runs.here.store
    stale = store.start(runs.job_id, 1, slot="gpu0", owner=OWNER, device="cpu", run="r")
    assert stale is not None
    with Reporter(store, runs.job_id, 1, STEPS) as reporter:
        keeper = RunKeeper(store, stale, 1, reporter, 0, partial(open_store, store.settings))
        store.lose(runs.job_id, 1)
        assert runs.run(interrupt_after=3) == [1, 2, 3]
        assert not keeper._write(noop.CountedSteps(7, "x"), time.monotonic())
    assert runs.files() == ["2.3.checkpoint"]
    assert runs.run() == [4, 5, 6, 7, 8]


def paused(driver: Open, tmp_path: Path, at: int) -> Runs:
    """Return a job that has been paused at a step of its own choice."""
    runs = Runs(driver(spool_dir=tmp_path / "here", spool_reserve_bytes=0), pause_at_step=at)
    assert runs.run() == list(range(1, at + 1))
    assert (runs.job.state, runs.job.step, runs.job.starts, runs.job.slot) == ("paused", at, 0, None)
    return runs


@pytest.mark.parametrize("at", [1, 5, STEPS - 1])
def test_a_job_is_paused_at_its_step_once_and_goes_on_from_there(driver: Open, tmp_path: Path, at: int) -> None:
    runs = paused(driver, tmp_path, at)
    assert runs.here.at("gpu0") == ("", 0)
    runs.here.store.resume(runs.job_id)
    assert runs.run() == list(range(at + 1, STEPS + 1))
    assert (runs.job.state, runs.job.resumed_from_step, runs.job.all_warnings) == ("succeeded", at, [])


def test_a_job_that_begins_anew_after_its_pause_is_not_paused_again(driver: Open, tmp_path: Path) -> None:
    runs = paused(driver, tmp_path, 3)
    checkpoints.remove(runs.here.store.settings, runs.job_id)
    runs.here.store.resume(runs.job_id)
    assert runs.run() == list(range(1, STEPS + 1))
    assert runs.job.state == "succeeded"


def test_a_worker_that_dies_before_the_job_is_paused_leaves_that_to_the_next_one(driver: Open, tmp_path: Path) -> None:
    runs = Runs(driver(spool_dir=tmp_path / "here", spool_reserve_bytes=0), pause_at_step=4)
    assert runs.run(die_after=4) == [1, 2, 3, 4]
    assert runs.run() == [1, 2, 3, 4]
    assert runs.job.state == "paused"


def test_a_pause_that_a_run_cannot_make_is_a_warning(driver: Open, tmp_path: Path) -> None:
    runs = Runs(driver(spool_dir=tmp_path / "here", spool_reserve_bytes=0), pause_at_step=STEPS)
    assert runs.run() == list(range(1, STEPS + 1))
    assert runs.job.state == "succeeded"
    assert runs.job.all_warnings == [f"not paused at step {STEPS}: the run had fewer steps"]


def test_the_checkpoint_of_a_paused_job_goes_with_the_job(driver: Open, tmp_path: Path) -> None:
    runs = paused(driver, tmp_path, 3)
    assert runs.files() == ["1.3.checkpoint"]
    runs.here.store.cancel(runs.job_id)
    assert runs.here.redis.zscore(keys.DUE, f"{keys.CHECKPOINT_OBJECTS}{runs.job_id}/") is not None
    assert runs.job.checkpoint is None
