"""Stored files that Redis does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.files import retention
from jobs.objects.local import LocalStore
from jobs.store.file_index import Amount, FileWalk
from tests.support.files_driver import FilesDriver, Open
from tests.support.s3_server import S3Server


@pytest.fixture(params=["folder", "bucket"])
def found(request: pytest.FixtureRequest, driver: Open, s3: S3Server, tmp_path: Path) -> FilesDriver:
    files_driver = FilesDriver(driver(), LocalStore(tmp_path) if request.param == "folder" else s3.store)
    for name in s3.files():
        s3.store.delete(name.removeprefix("mill/"))
    return files_driver


def search(files_driver: FilesDriver, age_s: float = -60) -> list[str]:
    return retention.walk(files_driver.store, files_driver.objects, orphan_age_s=age_s)


def test_files_that_no_record_names_are_found(found: FilesDriver) -> None:
    found.with_input(found.upload())
    kept = found.publish()
    running = found.submit()
    computed, attempt = found.compute()
    needed = {*found.files(), *found.files("inputs/")} - {f"outputs/{kept}/1.0/0.png"}
    for key in (f"outputs/{computed}/{attempt}.1/0.png", f"outputs/{kept}/previews/0.jpg"):
        found.objects.put_bytes(key, b"x", "image/png")  # of a delivery, or of a later version of Framemill
        needed.add(key)
    for key in ("outputs/unknown/1.1/0.png", "outputs/unknown/2.1/0.png", f"inputs/{'0' * 64}.0a.png"):
        found.objects.put_bytes(key, b"x", "image/png")
    found.objects.put_bytes("elsewhere/file", b"x", "image/png")
    assert search(found, age_s=3600) == []  # too young
    assert set(search(found)) == {"outputs/unknown/", f"outputs/{kept}/1.0/", f"inputs/{'0' * 64}.0a.png"}
    found.sweep()
    assert {*found.files(), *found.files("inputs/")} == needed
    assert found.files("elsewhere/") == ["elsewhere/file"]
    assert running == computed


def test_checkpoints_are_kept_while_their_job_lives(found: FilesDriver) -> None:
    found.submit()
    over = found.publish()
    running = found.submit()
    found.driver.start()
    names = {job_id: f"checkpoints/{job_id}/1.5.checkpoint" for job_id in (over, running, "unknown")}
    for name in names.values():
        found.objects.put_bytes(name, b"x", "application/octet-stream")
    assert set(search(found)) & {f"checkpoints/{job_id}/" for job_id in names} == {
        f"checkpoints/{over}/", "checkpoints/unknown/",
    }  # fmt: skip
    found.sweep()
    assert found.files("checkpoints/") == [names[running]]
    assert (found.store.file_counts() or FileWalk()).checkpoints == Amount(3, 3)
    found.store.keep_checkpoint(running, 1, step=5, age_s=0, node="host", key=names[running])
    found.store.cancel(running)
    found.sweep()
    assert found.files("checkpoints/") == []


def test_the_search_goes_on_where_it_ended(found: FilesDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 3)
    names = [f"inputs/{number:064x}.0a.png" for number in range(4)] + [f"outputs/j{n}/1.1/0.png" for n in range(4)]
    for name in names:
        found.objects.put_bytes(name, b"x", "image/png")
    rounds = [search(found) for _ in range(3)]
    assert [len(part) for part in rounds] == [3, 3, 2]
    assert found.store.file_walk().cursor == ""
    found.sweep()
    assert found.files() == found.files("inputs/") == []


def test_an_empty_redis_empties_no_bucket(found: FilesDriver) -> None:
    found.objects.put_bytes("outputs/old/1.1/0.png", b"x", "image/png")
    found.redis.flushall()
    assert search(found) == []
    found.sweep()
    assert found.files() == ["outputs/old/1.1/0.png"]


def test_files_and_bytes_are_counted_by_the_walk(found: FilesDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 2)
    assert found.store.file_counts() is None
    for name, size in (("inputs/a.0a.png", 1), ("outputs/j/1.1/0.png", 10), ("outputs/j/1.1/0.poster.jpg", 100)):
        found.objects.put_bytes(name, b"x" * size, "image/png")
    retention.walk(found.store, found.objects, orphan_age_s=0)
    assert found.store.file_counts() is None
    retention.walk(found.store, found.objects, orphan_age_s=0)
    counted = found.store.file_counts()
    assert counted is not None
    assert (counted.inputs, counted.outputs) == (Amount(1, 1), Amount(2, 110))
    assert counted.ended_at_ms
    found.objects.delete("outputs/j/1.1/0.png")
    assert found.store.file_counts() == counted  # until the next walk has ended
    retention.walk(found.store, found.objects, orphan_age_s=0)
    retention.walk(found.store, found.objects, orphan_age_s=0)
    assert (found.store.file_counts() or counted).outputs == Amount(1, 100)
    assert found.sweep() == []
