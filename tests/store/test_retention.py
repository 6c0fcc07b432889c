"""When files are removed, by their time and by deletion."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import DuplicateJob, JobNotFound, Unavailable
from jobs.files import retention
from jobs.objects.local import LocalStore
from jobs.record import Output
from jobs.store import keys
from tests.support.files_driver import FilesDriver, Open
from tests.support.s3_server import S3Server
from tests.support.store_driver import OWNER

HOUR_MS = 3_600_000


# --- Classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("named", "of_key", "expected"), [
    (None, "", "hours"), (None, "keep", "keep"), ("days", "keep", "days"), ("keep", "", "keep"),
])  # fmt: skip
def test_the_class_of_the_job_of_its_key_or_of_the_server(
    driver: Open, tmp_path: Path, named: str | None, of_key: str, expected: str
) -> None:
    files_driver = FilesDriver(driver(retention="hours", retention_hours=2.0, retention_days=3.0), LocalStore(tmp_path))
    files_driver.submit(retention=named, caller_retention=of_key)
    job = files_driver.store.get(files_driver.publish())
    assert job.retention == expected
    length_ms = {"hours": 2 * HOUR_MS, "days": 72 * HOUR_MS, "keep": None}[expected]
    assert job.expires_at_ms == (job.finished_at_ms + length_ms if length_ms and job.finished_at_ms else None)
    assert files_driver.redis.zscore(keys.DUE, f"outputs/{job.job_id}/") == job.expires_at_ms
    assert files_driver.redis.zscore(keys.EXPIRING, job.job_id) is None  # the record is kept longer than the files


def test_files_go_when_their_time_is_over_and_the_record_says_so(files_driver: FilesDriver) -> None:
    files_driver.submit(), files_driver.submit()
    first, second = files_driver.publish(), files_driver.publish()
    assert files_driver.sweep() == []
    files_driver.pass_time(f"outputs/{first}/")
    assert files_driver.sweep() == [f"outputs/{first}/"]
    assert [name for name in files_driver.files() if first in name] == []
    assert len([name for name in files_driver.files() if second in name]) == 3
    job = files_driver.store.get(first)
    assert (str(job.state), job.outputs) == ("succeeded", [])
    assert job.removed_at_ms
    result_ttl_ms = files_driver.store.settings.retention.result_ttl_s * 1000
    assert files_driver.redis.zscore(keys.EXPIRING, first) == job.removed_at_ms + result_ttl_ms
    assert files_driver.store.get(second).removed_at_ms is None


def test_a_job_without_outputs_leaves_with_its_record(files_driver: FilesDriver) -> None:
    job_id = files_driver.submit(retention="keep")
    files_driver.driver.finish()
    assert files_driver.redis.zscore(keys.EXPIRING, job_id)
    assert files_driver.store.get(job_id).expires_at_ms is None
    files_driver.redis.zadd(keys.EXPIRING, {job_id: 1})
    files_driver.driver.sweep()
    with pytest.raises(JobNotFound):
        files_driver.store.get(job_id)


def test_what_a_delivery_stored_that_was_never_published_goes(files_driver: FilesDriver) -> None:
    files_driver.submit()
    job_id, attempt = files_driver.compute()
    number = files_driver.store.claim(job_id, attempt, "io")
    key = f"outputs/{job_id}/{attempt}.{number}/0.png"
    files_driver.objects.put_bytes(key, b"x", "image/png")
    files_driver.store.fail(job_id, attempt, code="delivery_failed", message="")  # its worker was killed before
    assert files_driver.sweep() == []  # a killed worker may still be writing
    files_driver.pass_time()
    assert files_driver.sweep() == [f"outputs/{job_id}/"]
    assert files_driver.files() == []


def test_outputs_that_came_too_late_are_noted_for_removal(files_driver: FilesDriver) -> None:
    files_driver.submit()
    job_id, attempt = files_driver.compute()
    number = files_driver.store.claim(job_id, attempt, "io")
    files_driver.store.cancel(job_id)
    key = f"outputs/{job_id}/{attempt}.{number}/0.png"
    files_driver.objects.put_bytes(key, b"x", "image/png")
    assert not files_driver.store.deliver(job_id, attempt, "io", [Output(key, "image/png", 1, "", 1, 1)])
    assert key in files_driver.sweep()
    assert files_driver.files() == []


# --- Deleting ---------------------------------------------------------------------------------------------------------


def test_a_deleted_job_goes_with_all_its_files_and_its_id_stays_taken(files_driver: FilesDriver) -> None:
    files_driver.submit(retention="keep")
    job_id = files_driver.publish()
    assert files_driver.store.purge(job_id) == "deleted"
    with pytest.raises(JobNotFound):
        files_driver.store.get(job_id)
    with pytest.raises(DuplicateJob):
        files_driver.submit(job_id=job_id)
    files_driver.sweep()
    assert files_driver.files() == []
    assert files_driver.store.purge(job_id) == "gone"
    with pytest.raises(DuplicateJob):
        files_driver.submit(job_id=job_id)
    assert files_driver.store.deleted_key(job_id) == "a"
    files_driver.redis.delete(keys.DELETED + job_id)  # as after its time to live
    assert files_driver.submit(job_id=job_id) == job_id


def test_an_id_is_not_used_again_while_its_files_are_there(files_driver: FilesDriver) -> None:
    files_driver.submit()
    job_id = files_driver.publish()
    files_driver.pass_time()
    files_driver.redis.zadd(keys.EXPIRING, {job_id: 1})
    files_driver.driver.sweep()  # before the object store, which is away, has removed anything
    with pytest.raises(DuplicateJob):
        files_driver.submit(job_id=job_id)
    assert files_driver.sweep() == [f"outputs/{job_id}/"]
    assert files_driver.submit(job_id=job_id) == job_id


@pytest.mark.parametrize("end", ["release", "lose", "sweep"])
def test_a_running_job_is_deleted_when_its_worker_has_stopped(files_driver: FilesDriver, end: str) -> None:
    job_id = files_driver.submit()
    assert files_driver.store.purge(job_id) == "live"
    files_driver.driver.start()
    files_driver.store.cancel(job_id)
    for _ in range(2):
        assert files_driver.store.purge(job_id) == "held"
    files_driver.driver.sweep()
    assert files_driver.store.get(job_id).state == "cancelled"
    if end == "release":
        files_driver.store.release(job_id, 1, slot="gpu0")
    elif end == "lose":
        files_driver.store.lose(job_id, 1)
    else:
        files_driver.store.leave("gpu0", OWNER)
        files_driver.redis.zadd(keys.EXPIRING, {job_id: 1})
        files_driver.driver.sweep()
    assert files_driver.store.purge(job_id) == "gone"
    assert not files_driver.redis.keys("*" + job_id) or files_driver.redis.keys("*" + job_id) == [keys.DELETED + job_id]


def test_nothing_is_left_of_a_deleted_job_but_its_name(files_driver: FilesDriver) -> None:
    before = set(files_driver.redis.keys("*"))
    files_driver.with_input(files_driver.upload(), job_id="secret-job")
    files_driver.publish()
    files_driver.store.purge("secret-job")
    files_driver.pass_time()
    while files_driver.sweep():
        pass
    usage = {keys.USAGE_KEYS, *files_driver.redis.keys(keys.USAGE + "*")}  # of the key and model, without the job
    new = set(files_driver.redis.keys("*")) - before - usage - {keys.EVENTS, keys.COUNTERS, keys.RATES, keys.SERVED}
    assert new == {keys.DELETED + "secret-job"}
    assert files_driver.files() == files_driver.files("inputs/") == []


# --- What goes wrong --------------------------------------------------------------------------------------------------


def test_a_sweep_that_died_is_done_again_by_the_next(files_driver: FilesDriver) -> None:
    files_driver.submit()
    job_id = files_driver.publish()
    files_driver.pass_time()
    assert files_driver.store.take_due_files(9, 60) == [f"outputs/{job_id}/"]
    assert files_driver.sweep() == []  # claimed by the other sweep
    files_driver.pass_time()
    assert files_driver.sweep() == [f"outputs/{job_id}/"]
    assert files_driver.files() == []
    assert not files_driver.redis.exists(keys.DUE)


def test_while_the_bucket_is_away_nothing_is_forgotten(driver: Open, s3: S3Server) -> None:
    files_driver = FilesDriver(driver(), s3.store)
    files_driver.submit()
    job_id = files_driver.publish()
    files_driver.pass_time()
    s3.stop()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable):
                files_driver.sweep()
    finally:
        s3.start()
    assert len(s3.files(f"/{job_id}/")) == 3
    assert files_driver.sweep() == [f"outputs/{job_id}/"]
    assert s3.files(f"/{job_id}/") == []


def test_a_round_is_bounded(files_driver: FilesDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    names = {files_driver.upload(f"{number:02x}") for number in range(7)}
    files_driver.pass_time()
    rounds = [files_driver.sweep() for _ in range(3)]
    assert [len(names) for names in rounds] == [3, 3, 1]
    assert {name for names in rounds for name in names} == names


def test_one_process_at_a_time_looks_after_the_files(files_driver: FilesDriver) -> None:
    assert files_driver.store.lock_files("a", 60)
    assert not files_driver.store.lock_files("b", 60)
