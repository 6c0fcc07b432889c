"""When files are removed, by their time and by deletion."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.errors import DuplicateJob, JobNotFound, Unavailable
from jobs.files import retention
from jobs.objects.local import LocalStore
from jobs.record import Output
from jobs.store import keys
from tests.support.files_room import House, Open
from tests.support.room import OWNER
from tests.support.s3_server import S3Server

HOUR_MS = 3_600_000


# --- Classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("named", "of_key", "expected"), [
    (None, "", "hours"), (None, "keep", "keep"), ("days", "keep", "days"), ("keep", "", "keep"),
])  # fmt: skip
def test_the_class_of_the_job_of_its_key_or_of_the_server(
    room: Open, tmp_path: Path, named: str | None, of_key: str, expected: str
) -> None:
    house = House(room(retention="hours", retention_hours=2.0, retention_days=3.0), LocalStore(tmp_path))
    house.submit(retention=named, caller_retention=of_key)
    job = house.store.get(house.publish())
    assert job.retention == expected
    length_ms = {"hours": 2 * HOUR_MS, "days": 72 * HOUR_MS, "keep": None}[expected]
    assert job.expires_at_ms == (job.finished_at_ms + length_ms if length_ms and job.finished_at_ms else None)
    assert house.redis.zscore(keys.DUE, f"outputs/{job.job_id}/") == job.expires_at_ms
    assert house.redis.zscore(keys.EXPIRING, job.job_id) is None  # the record is kept longer than the files


def test_files_go_when_their_time_is_over_and_the_record_says_so(house: House) -> None:
    house.submit(), house.submit()
    first, second = house.publish(), house.publish()
    assert house.sweep() == []
    house.pass_time(f"outputs/{first}/")
    assert house.sweep() == [f"outputs/{first}/"]
    assert [name for name in house.files() if first in name] == []
    assert len([name for name in house.files() if second in name]) == 3
    job = house.store.get(first)
    assert (str(job.state), job.outputs) == ("succeeded", [])
    assert job.removed_at_ms
    result_ttl_ms = house.store.settings.retention.result_ttl_s * 1000
    assert house.redis.zscore(keys.EXPIRING, first) == job.removed_at_ms + result_ttl_ms
    assert house.store.get(second).removed_at_ms is None


def test_a_job_without_outputs_leaves_with_its_record(house: House) -> None:
    job_id = house.submit(retention="keep")
    house.room.finish()
    assert house.redis.zscore(keys.EXPIRING, job_id)
    assert house.store.get(job_id).expires_at_ms is None
    house.redis.zadd(keys.EXPIRING, {job_id: 1})
    house.room.sweep()
    with pytest.raises(JobNotFound):
        house.store.get(job_id)


def test_what_a_delivery_stored_that_was_never_published_goes(house: House) -> None:
    house.submit()
    job_id, attempt = house.compute()
    number = house.store.claim(job_id, attempt, "io")
    key = f"outputs/{job_id}/{attempt}.{number}/0.png"
    house.objects.put_bytes(key, b"x", "image/png")
    house.store.fail(job_id, attempt, code="delivery_failed", message="")  # its worker was killed before
    assert house.sweep() == []  # a killed worker may still be writing
    house.pass_time()
    assert house.sweep() == [f"outputs/{job_id}/"]
    assert house.files() == []


def test_outputs_that_came_too_late_are_noted_for_removal(house: House) -> None:
    house.submit()
    job_id, attempt = house.compute()
    number = house.store.claim(job_id, attempt, "io")
    house.store.cancel(job_id)
    key = f"outputs/{job_id}/{attempt}.{number}/0.png"
    house.objects.put_bytes(key, b"x", "image/png")
    assert not house.store.deliver(job_id, attempt, "io", [Output(key, "image/png", 1, "", 1, 1)])
    assert key in house.sweep()
    assert house.files() == []


# --- Deleting ---------------------------------------------------------------------------------------------------------


def test_a_deleted_job_goes_with_all_its_files_and_its_id_stays_taken(house: House) -> None:
    house.submit(retention="keep")
    job_id = house.publish()
    assert house.store.purge(job_id) == "deleted"
    with pytest.raises(JobNotFound):
        house.store.get(job_id)
    with pytest.raises(DuplicateJob):
        house.submit(job_id=job_id)
    house.sweep()
    assert house.files() == []
    assert house.store.purge(job_id) == "gone"
    with pytest.raises(DuplicateJob):
        house.submit(job_id=job_id)
    assert house.store.deleted_key(job_id) == "a"
    house.redis.delete(keys.DELETED + job_id)  # as after its time to live
    assert house.submit(job_id=job_id) == job_id


def test_an_id_is_not_used_again_while_its_files_are_there(house: House) -> None:
    house.submit()
    job_id = house.publish()
    house.pass_time()
    house.redis.zadd(keys.EXPIRING, {job_id: 1})
    house.room.sweep()  # before the object store, which is away, has removed anything
    with pytest.raises(DuplicateJob):
        house.submit(job_id=job_id)
    assert house.sweep() == [f"outputs/{job_id}/"]
    assert house.submit(job_id=job_id) == job_id


@pytest.mark.parametrize("end", ["release", "lose", "sweep"])
def test_a_running_job_is_deleted_when_its_worker_has_stopped(house: House, end: str) -> None:
    job_id = house.submit()
    assert house.store.purge(job_id) == "live"
    house.room.start()
    house.store.cancel(job_id)
    for _ in range(2):
        assert house.store.purge(job_id) == "held"
    house.room.sweep()
    assert house.store.get(job_id).state == "cancelled"
    if end == "release":
        house.store.release(job_id, 1, slot="gpu0")
    elif end == "lose":
        house.store.lose(job_id, 1)
    else:
        house.store.leave("gpu0", OWNER)
        house.redis.zadd(keys.EXPIRING, {job_id: 1})
        house.room.sweep()
    assert house.store.purge(job_id) == "gone"
    assert not house.redis.keys("*" + job_id) or house.redis.keys("*" + job_id) == [keys.DELETED + job_id]


def test_nothing_is_left_of_a_deleted_job_but_its_name(house: House) -> None:
    before = set(house.redis.keys("*"))
    house.with_input(house.upload(), job_id="secret-job")
    house.publish()
    house.store.purge("secret-job")
    house.pass_time()
    while house.sweep():
        pass
    new = set(house.redis.keys("*")) - before - {keys.EVENTS, keys.COUNTERS, keys.RATES, keys.SERVED}
    assert new == {keys.DELETED + "secret-job"}
    assert house.files() == house.files("inputs/") == []


# --- What goes wrong --------------------------------------------------------------------------------------------------


def test_a_sweep_that_died_is_done_again_by_the_next(house: House) -> None:
    house.submit()
    job_id = house.publish()
    house.pass_time()
    assert house.store.take_due_files(9, 60) == [f"outputs/{job_id}/"]
    assert house.sweep() == []  # claimed by the other sweep
    house.pass_time()
    assert house.sweep() == [f"outputs/{job_id}/"]
    assert house.files() == []
    assert not house.redis.exists(keys.DUE)


def test_while_the_bucket_is_away_nothing_is_forgotten(room: Open, s3: S3Server) -> None:
    house = House(room(), s3.store)
    house.submit()
    job_id = house.publish()
    house.pass_time()
    s3.stop()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable):
                house.sweep()
    finally:
        s3.start()
    assert len(s3.files(job_id)) == 3
    assert house.sweep() == [f"outputs/{job_id}/"]
    assert s3.files(job_id) == []


def test_a_round_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    names = {house.upload(f"{number:02x}") for number in range(7)}
    house.pass_time()
    rounds = [house.sweep() for _ in range(3)]
    assert [len(names) for names in rounds] == [3, 3, 1]
    assert {name for names in rounds for name in names} == names


def test_one_process_at_a_time_looks_after_the_files(house: House) -> None:
    assert house.store.lock_files("a", 60)
    assert not house.store.lock_files("b", 60)
