"""When files go, and that those go by themselves which nothing needs any more."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from jobs import keys, retention
from jobs.errors import DuplicateJob, JobNotFound, ObjectNotFound, Unavailable
from jobs.objects.local import LocalStore
from jobs.record import Output
from jobs.requests import GenerationRequest
from jobs.submission import Submission
from tests.input_case import Case
from tests.pictures import PNG
from tests.room import OWNER, Room, request
from tests.s3_server import S3Server

Open = Callable[..., Room]
HOUR_MS = 3_600_000


class House:
    """A room with one slot, and its files."""

    def __init__(self, room: Room, objects: Any) -> None:
        self.room, self.objects = room, objects
        self.store, self.redis = room.store, room.redis
        room.open()
        self.redis.set(keys.FILES_BEGAN, 0)

    def submit(self, **options: Any) -> str:
        return self.room.submit(**options)

    def with_input(self, name: str, **options: Any) -> str:
        wanted = replace(request("m", 1), image=name)
        job_id = options.pop("job_id", f"with-input-{self.redis.dbsize()}")
        return self.store.submit(job_id, Submission(request=wanted, **options)).job_id

    def upload(self, content: str = "aa") -> str:
        name = self.store.hold_input(content, "png")
        self.objects.put_bytes(name, content.encode(), "image/png")
        return name

    def compute(self) -> tuple[str, int]:
        """The slot's job until its frames wait for their delivery."""
        job_id, attempt = self.room.at()
        self.room.start()
        assert self.store.compute(job_id, attempt, slot="gpu0", node="host", run_s=1)[0]
        return job_id, attempt

    def publish(self) -> str:
        """The slot's job to its end, with an output, a poster beside it and what a lost delivery left."""
        job_id, attempt = self.compute()
        self.objects.put_bytes(f"outputs/{job_id}/{attempt}.0/0.png", b"lost", "image/png")
        number = self.store.claim(job_id, attempt, "io")
        key = f"outputs/{job_id}/{attempt}.{number}/0.png"
        for name in (key, key.replace("0.png", "0.poster.jpg")):
            self.objects.put_bytes(name, b"output", "image/png")
        assert self.store.deliver(job_id, attempt, "io", [Output(key, "image/png", 6, "0" * 64, 1, 1)])
        return job_id

    def files(self, prefix: str = "outputs/") -> list[str]:
        return [found.key for found in self.objects.list(prefix)]

    def pass_time(self, *names: str) -> None:
        """Everything (or these names) may be removed by now."""
        for name in names or self.redis.zrange(keys.DUE, 0, -1):
            self.redis.zadd(keys.DUE, {name: 1}, xx=True)
            if (job_id := name.split("/")[1]) and self.redis.hexists(keys.JOB + job_id, "expires_at"):
                self.redis.hset(keys.JOB + job_id, "expires_at", 1)

    def sweep(self) -> list[str]:
        return retention.remove_due(self.store, self.objects, again_after_s=0)


@pytest.fixture
def house(room: Open, tmp_path: Path) -> House:
    return House(room(), LocalStore(tmp_path / "objects"))


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
    assert house.redis.zscore(keys.EXPIRING, job.job_id) is None  # the record stays longer than the files


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
    assert house.redis.zscore(keys.EXPIRING, first) == job.removed_at_ms + house.store.settings.result_ttl_s * 1000
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
    assert house.sweep() == []  # it may still be writing
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


# --- Inputs -----------------------------------------------------------------------------------------------------------


def test_an_input_stays_as_long_as_a_job_names_it(house: House) -> None:
    name = house.upload()
    first, second = house.with_input(name), house.with_input(name)
    house.pass_time()
    assert house.sweep() == []
    for job_id in (first, second):
        assert house.files("inputs/") == [name]
        house.store.cancel(job_id)
        house.sweep()
        assert house.files("inputs/") == [name]  # it could be sent again
        house.store.purge(job_id)
        house.sweep()
    assert house.files("inputs/") == []
    assert not house.redis.exists(keys.INPUTS, keys.INPUT_USES, keys.DUE)


def test_the_inputs_of_a_job_that_succeeded_go_with_its_outputs(house: House) -> None:
    name = house.upload()
    job_id = house.with_input(name)
    house.publish()
    house.pass_time(f"outputs/{job_id}/", name)
    house.sweep(), house.sweep()
    assert house.files("inputs/") == house.files() == []


def test_an_input_that_no_job_came_for_goes_after_its_grace(house: House) -> None:
    name = house.upload()
    assert house.sweep() == []
    house.pass_time()
    assert house.sweep() == [name]
    with pytest.raises(Unavailable, match="no longer stored"):
        house.with_input(name)
    assert house.redis.keys(keys.JOB + "*") == []


def test_an_upload_keeps_an_input_whose_last_job_is_deleted_meanwhile(house: House) -> None:
    name = house.upload()
    job_id = house.with_input(name)
    house.pass_time()
    house.sweep()
    assert house.upload() == name  # somebody sends it again …
    house.store.cancel(job_id)
    house.store.purge(job_id)  # … and before the job is there the only other one goes
    assert house.sweep() == []
    house.with_input(name)
    assert house.files("inputs/") == [name]


def test_a_removal_under_way_cannot_hit_the_same_image_sent_again(case: Case) -> None:
    """Upload and removal in every order: the steps of the one between the steps of the other."""
    for taken_at in range(4):
        for removed_at in range(taken_at, 4):
            case.records.client.flushall()
            old = case.store(PNG)
            case.records.client.zadd(keys.DUE, {old: 1})
            taken: list[str] = []
            new = ""
            for step in range(4):
                if step == taken_at:
                    taken = case.records.take_due(9, 60)
                if step == removed_at:
                    for name in taken:
                        case.objects.delete(name)
                if step == 1:
                    new = case.store(PNG)
                if step == 2:
                    case.records.submit("job", Submission(request=_with(new)))
            for name in case.records.take_due(9, 0):
                case.objects.delete(name)
            assert case.content(new) == PNG, (taken_at, removed_at)
            assert (new == old) == (taken_at > 1)


def _with(name: str) -> GenerationRequest:
    return replace(request("m", 1), image=name)


# --- What goes wrong --------------------------------------------------------------------------------------------------


def test_a_sweep_that_died_is_done_again_by_the_next(house: House) -> None:
    house.submit()
    job_id = house.publish()
    house.pass_time()
    assert house.store.take_due(9, 60) == [f"outputs/{job_id}/"]
    assert house.sweep() == []  # taken by the other
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


# --- Orphans ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "bucket"])
def found(request: pytest.FixtureRequest, room: Open, s3: S3Server, tmp_path: Path) -> House:
    house = House(room(), LocalStore(tmp_path) if request.param == "folder" else s3.store)
    for name in s3.files():
        s3.store.delete(name.removeprefix("mill/"))
    return house


def search(house: House, age_s: float = -60) -> list[str]:
    return retention.find_orphans(house.store, house.objects, age_s=age_s)


def test_files_that_no_record_names_are_found(found: House) -> None:
    found.with_input(found.upload())
    kept = found.publish()
    running = found.submit()
    computed, attempt = found.compute()
    needed = {*found.files(), *found.files("inputs/")} - {f"outputs/{kept}/1.0/0.png"}
    for key in (f"outputs/{computed}/{attempt}.1/0.png", f"outputs/{kept}/previews/0.jpg"):
        found.objects.put_bytes(key, b"x", "image/png")  # of a delivery, or of a part of Framemill that came later
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


def test_the_search_goes_on_where_it_ended(found: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PAGE", 3)
    names = [f"inputs/{number:064x}.0a.png" for number in range(4)] + [f"outputs/j{n}/1.1/0.png" for n in range(4)]
    for name in names:
        found.objects.put_bytes(name, b"x", "image/png")
    rounds = [search(found) for _ in range(3)]
    assert [len(part) for part in rounds] == [3, 3, 2]
    assert found.store.orphan_cursor() == ""
    found.sweep()
    assert found.files() == found.files("inputs/") == []


def test_an_empty_redis_empties_no_bucket(found: House) -> None:
    found.objects.put_bytes("outputs/old/1.1/0.png", b"x", "image/png")
    found.redis.flushall()
    assert search(found) == []
    found.sweep()
    assert found.files() == ["outputs/old/1.1/0.png"]


# --- A whole server ---------------------------------------------------------------------------------------------------


def data_url() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "navy").save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def stored(stack: Any) -> list[str]:
    objects = LocalStore(stack.settings.objects_dir)
    return [found.key for prefix in ("inputs/", "outputs/") for found in objects.list(prefix)]


def test_files_expire_and_are_deleted_on_a_running_server(start) -> None:  # type: ignore[no-untyped-def]
    from tests.harness import wait_for

    stack = start("gpu0", "io", RETENTION_HOURS="0.0003", UNUSED_FILES_GRACE_S="1")
    image = {"kind": "img2img", "strength": 0.5, "steps": 2, "image": data_url()}
    short, kept = stack.submit(retention="hours", **image), stack.submit(retention="keep", **image)
    first, second = stack.wait(short), stack.wait(kept)
    assert (first["retention"], second["retention"], second["expires_at"]) == ("hours", "keep", None)
    assert first["expires_at"] > first["finished_at"]
    wait_for(lambda: not any(short in name for name in stored(stack)), "the outputs to expire")
    gone = stack.get(f"/v1/tasks/{short}/result")
    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "result_expired")
    assert (stack.status(short)["state"], stack.status(short)["outputs"]) == ("succeeded", [])
    copy = stack.get(f"/v1/tasks/{kept}/result")
    assert (copy.status_code, copy.headers["Cache-Control"]) == (200, "private, max-age=31536000, immutable")
    stack.store.client.hset(keys.JOB + kept, "expires_at", 1)
    assert "max-age=0" in stack.get(f"/v1/tasks/{kept}/result").headers["Cache-Control"]
    assert len([name for name in stored(stack) if name.startswith("inputs/")]) == 1

    answer = stack.delete(f"/v1/tasks/{kept}?purge=true").json()
    assert (answer["deleted"], answer["changed"]) == (True, True)
    assert stack.get(f"/v1/tasks/{kept}").status_code == 404
    assert stack.get(f"/v1/tasks/{kept}/result").json()["error"]["code"] == "job_not_found"
    wait_for(lambda: stored(stack) == [], "all files to go")
    again = stack.delete(f"/v1/tasks/{kept}?purge=true").json()
    assert (again["deleted"], again["changed"]) == (True, False)
    assert stack.post(task_id=kept).status_code == 409

    running = stack.endless()
    stack.delete(f"/v1/tasks/{running}?purge=true")
    wait_for(lambda: stack.get(f"/v1/tasks/{running}").status_code == 404, "the running job to go")
    assert stack.wait(stack.submit(steps=1))["state"] == "succeeded"
    assert stack.delete("/v1/tasks/never?purge=true").status_code == 404
    wrong = stack.delete(f"/v1/tasks/{short}?purge=perhaps")
    assert (wrong.status_code, wrong.json()["error"]["fields"][0]["field"]) == (422, "purge")
    with pytest.raises(ObjectNotFound):
        LocalStore(stack.settings.objects_dir).stat("outputs/none")
