"""Files under every call in any order: nothing that is needed is removed, and in the end nothing is left.

Operations are split where other processes can come between their steps. Removals: claimed in Redis, removed, forgotten.
Uploads: announced, stored, submitted.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.errors import DuplicateJob, ObjectNotFound, Unavailable
from jobs.files import retention
from jobs.objects.local import LocalStore
from jobs.record import Output
from jobs.settings import Settings
from jobs.store import keys
from jobs.submission import Submission
from tests.store.test_store_machine import THOROUGH
from tests.support.files_driver import Job, Upload, Wanted
from tests.support.store_driver import StoreDriver
from tests.support.store_invariants import Snapshot

ENDS = ("succeeded", "failed", "cancelled")


#: Inputs of a request.
pictures = st.lists(st.integers(0, 1), max_size=2)


class RetentionMachine(RuleBasedStateMachine):
    def __init__(self, server: Settings) -> None:
        super().__init__()
        self.driver = StoreDriver(server)
        self.store, self.redis = self.driver.store, self.driver.redis
        self.folder = Path(tempfile.mkdtemp(prefix="fm-"))
        self.objects = LocalStore(self.folder)
        self.redis.set(keys.FILES_BEGAN, 0)
        self.jobs: dict[str, Job] = {}
        self.uploads: list[Upload] = []
        #: Names that a sweep has claimed and not removed yet.
        self.taken: list[str] = []
        self.ids: list[str] = []
        self.driver.open("gpu0", "m")

    def exists(self, name: str) -> bool:
        try:
            self.objects.stat(name)
        except ObjectNotFound:
            return False
        return True

    def pick(self, at: int, *states: str) -> Job | None:
        found = [job for job in self.jobs.values() if job.state in states]
        return found[at % len(found)] if found else None

    @initialize(jobs=st.lists(st.tuples(pictures, st.booleans(), st.integers(0, 3)), max_size=5))
    def begin(self, jobs: list[tuple[list[int], bool, int]]) -> None:
        """Create some jobs in different states."""
        for chosen, kept, steps in jobs:
            self.send(chosen, kept)
            for step in range(steps):
                self.work() if step < 2 else self.deliver(0, "published")

    # ---- callers

    @rule(chosen=pictures, kept=st.booleans())
    def send(self, chosen: list[int], kept: bool) -> None:
        """Send a complete request."""
        before = len(self.uploads)
        for picture in chosen:
            self.announce(picture)
            self.put(len(self.uploads) - 1)
        mine, self.uploads = self.uploads[before:], self.uploads[:before]
        self.accept(tuple(dict.fromkeys(upload.name for upload in mine)), kept, may_fail=False)

    @rule(picture=st.integers(0, 1))
    def announce(self, picture: int) -> None:
        sha256 = hashlib.sha256(bytes([picture])).hexdigest()
        self.uploads.append(Upload(self.store.reserve_input(sha256, "png")))

    @precondition(lambda self: self.uploads)
    @rule(at=st.integers(0, 9))
    def put(self, at: int) -> None:
        upload = self.uploads[at % len(self.uploads)]
        if not self.exists(upload.name):
            self.objects.put_bytes(upload.name, b"picture", "image/png")
        upload.stored = True

    @precondition(lambda self: any(upload.stored for upload in self.uploads))
    @rule(at=st.integers(0, 9), kept=st.booleans(), number=st.integers(1, 2))
    def submit(self, at: int, kept: bool, number: int) -> None:
        ready = [upload for upload in self.uploads if upload.stored]
        chosen = [ready[(at + i) % len(ready)] for i in range(number)] if ready else []
        names = tuple(dict.fromkeys(upload.name for upload in chosen))
        for upload in chosen:
            if upload in self.uploads:
                self.uploads.remove(upload)
        self.accept(names, kept, may_fail=any(upload.lapsed for upload in chosen))

    def accept(self, names: tuple[str, ...], kept: bool, may_fail: bool) -> None:
        wanted = Wanted.of(names)
        job = Job(f"job{len(self.ids)}", names, kept)
        submission = Submission(request=wanted, retention="keep" if kept else "days")
        try:
            self.store.submit(job.job_id, submission)
        except Unavailable:
            assert may_fail
            return
        self.ids.append(job.job_id)
        self.jobs[job.job_id] = job
        self.follow()

    def follow(self) -> None:
        """Update the model: the slot may have received a job."""
        job_id, attempt = self.driver.at()
        if job_id in self.jobs:
            self.jobs[job_id].attempt = attempt

    @precondition(lambda self: self.pick(0, "failed", "cancelled"))
    @rule(at=st.integers(0, 9))
    def retry(self, at: int) -> None:
        if job := self.pick(at, "failed", "cancelled"):
            self.accept(job.inputs, job.kept, may_fail=False)

    @rule(at=st.integers(0, 9))
    def cancel(self, at: int) -> None:
        if job := self.pick(at, "queued", "running", "delivering"):
            self.store.cancel(job.job_id)
            job.state = "cancelled"
            self.follow()

    @precondition(lambda self: self.pick(0, *ENDS))
    @rule(at=st.integers(0, 9))
    def purge(self, at: int) -> None:
        if job := self.pick(at, *ENDS):
            held = self.driver.at()[0] == job.job_id
            assert self.store.purge(job.job_id) == ("held" if held else "deleted")
            if held:
                self.release()
            self.gone(job)
            assert self.store.purge(job.job_id) == "gone"

    def gone(self, job: Job) -> None:
        del self.jobs[job.job_id]
        assert not self.redis.exists(keys.JOB + job.job_id)

    @precondition(lambda self: self.ids)
    @rule(at=st.integers(0, 30))
    def an_id_is_not_used_again_while_files_of_it_are_to_be_removed(self, at: int) -> None:
        job_id = self.ids[at % len(self.ids)]
        removing = self.redis.zscore(keys.DUE, f"outputs/{job_id}/") is not None
        if job_id in self.jobs or removing or self.redis.exists(keys.DELETED + job_id):
            with pytest.raises(DuplicateJob):
                self.store.submit(job_id, Submission(request=Wanted.of(())))

    # ---- workers

    @precondition(lambda self: self.driver.at()[0])
    @rule()
    def work(self) -> None:
        """Start or compute the slot's job."""
        job_id, attempt = self.driver.at()
        if not job_id or self.jobs[job_id].state in ENDS:
            return
        if self.jobs[job_id].state == "queued":
            self.driver.start()
            self.jobs[job_id].state = "running"
        else:
            self.store.finish_run(job_id, attempt, slot="gpu0", node="host", run_s=1)
            self.jobs[job_id].state = "delivering"
            self.follow()

    @precondition(lambda self: self.driver.at()[0])
    @rule()
    def release(self) -> None:
        job_id, attempt = self.driver.at()
        if job_id and self.jobs[job_id].state in ENDS:
            self.store.release(job_id, attempt, slot="gpu0")
            self.follow()

    @precondition(lambda self: self.pick(0, "delivering"))
    @rule(at=st.integers(0, 9), end=st.sampled_from(["published", "published", "stale", "killed", "failed"]))
    def deliver(self, at: int, end: str) -> None:
        """``stale``: cancelled while the files are stored; ``killed``: the worker dies after storing them."""
        job = self.pick(at, "delivering")
        if job is None:
            return
        number = self.store.claim(job.job_id, job.attempt, owner := f"io{len(self.ids)}.{at}.{end}")
        if not number:
            self.redis.hset(keys.JOB + job.job_id, "next_look_at", 1)
            return
        names = [f"outputs/{job.job_id}/{job.attempt}.{number}/{name}" for name in ("0.png", "0.poster.jpg")]
        for name in names:
            self.objects.put_bytes(name, b"output", "image/png")
        if end == "killed":
            self.redis.hset(keys.JOB + job.job_id, "next_look_at", 1)
        elif end == "failed":
            self.store.fail(job.job_id, job.attempt, code="x", message="x")
            job.state = "failed"
        else:
            if end == "stale":
                self.store.cancel(job.job_id)
                job.state = "cancelled"
            published = self.store.deliver(
                job.job_id, job.attempt, owner, [Output(names[0], "image/png", 1, "0", 1, 1)]
            )
            assert published == (end == "published")
            if published:
                job.state, job.outputs = "succeeded", names

    # ---- time

    @precondition(lambda self: self.pick(0, "succeeded"))
    @rule(at=st.integers(0, 9))
    def files_expire(self, at: int) -> None:
        """Let the time of some files pass; a sweep may find them from now on."""
        job = self.pick(at, "succeeded")
        if job and not job.kept and not job.expired:
            self.redis.hset(keys.JOB + job.job_id, "expires_at", 1)
            self.redis.zadd(keys.DUE, {f"outputs/{job.job_id}/": 1}, xx=True)
            job.expired = True

    @precondition(lambda self: self.pick(0, *ENDS))
    @rule(at=st.integers(0, 9))
    def record_expires(self, at: int) -> None:
        job = self.pick(at, *ENDS)
        kept = job and job.state == "succeeded" and (job.kept or not job.expired)
        if job and not kept and self.driver.at()[0] != job.job_id:
            self.redis.zadd(keys.EXPIRING, {job.job_id: 1})
            self.driver.sweep()
            self.gone(job)

    @rule()
    def grace_is_over(self) -> None:
        self.redis.zadd(keys.DUE, dict.fromkeys(self.redis.hvals(keys.INPUTS), 1) or {"-": 1}, xx=True)
        for upload in self.uploads:
            upload.lapsed = True

    @rule()
    def failed_deliveries_are_over(self) -> None:
        live = {f"outputs/{job.job_id}/" for job in self.jobs.values() if job.state == "succeeded"}
        due = {name: 1 for name in self.redis.zrange(keys.DUE, 0, -1) if name.startswith("outputs/")}
        self.redis.zadd(keys.DUE, {name: 1 for name in due if name not in live} or {"-": 1}, xx=True)

    # ---- sweeps

    @rule()
    def take(self) -> None:
        self.taken += self.store.take_due_files(9, 60)

    @rule()
    def sweep(self) -> None:
        """Do a complete sweep."""
        retention.remove_due(self.store, self.objects)

    @precondition(lambda self: self.taken)
    @rule(at=st.integers(0, 9), dies=st.booleans())
    def remove(self, at: int, dies: bool) -> None:
        """``dies``: the files were removed and not forgotten, so that they are removed again."""
        name = self.taken.pop(at % len(self.taken))
        for key in [found.key for found in self.objects.list(name)] if name.endswith("/") else [name]:
            self.objects.delete(key)
        if dies:
            self.redis.zadd(keys.DUE, {name: 1}, xx=True)
        else:
            self.store.forget_file(name)

    @rule()
    def look_for_orphans(self) -> None:
        retention.walk(self.store, self.objects, orphan_age_s=-60)

    # ---- invariants

    @invariant()
    def what_is_needed_is_there(self) -> None:
        for job in self.jobs.values():
            if job.state == "succeeded":
                assert job.expired or all(map(self.exists, job.outputs)), job
                assert job.expired or all(map(self.exists, job.inputs)), job
            else:
                assert all(map(self.exists, job.inputs)), job
        for upload in self.uploads:
            assert not upload.stored or upload.lapsed or self.exists(upload.name), upload

    @invariant()
    def redis_agrees(self) -> None:
        now = Snapshot(self.redis)
        now._files()
        assert set(now.jobs) == set(self.jobs)

    def teardown(self) -> None:
        """Check that nothing is left when all jobs were deleted and all times have passed."""
        for job in list(self.jobs.values()):
            if job.state not in ENDS:
                self.store.cancel(job.job_id)
            self.store.purge(job.job_id)
            job_id, attempt = self.driver.at()
            if job_id:
                self.store.release(job_id, attempt, slot="gpu0")
        self.jobs.clear()
        for _ in range(20):
            self.redis.zadd(keys.DUE, dict.fromkeys(self.redis.zrange(keys.DUE, 0, -1), 1) or {"-": 1}, xx=True)
            removed = retention.remove_due(self.store, self.objects, again_after_s=0)
            if not removed and not retention.walk(self.store, self.objects, orphan_age_s=-60):
                break
        left = [str(path) for path in self.folder.rglob("*") if path.is_file()]
        shutil.rmtree(self.folder)
        assert left == []
        assert not self.redis.exists(keys.DUE, keys.INPUTS, keys.INPUT_USES)


@pytest.mark.timeout(0 if THOROUGH else 300)
def test_no_needed_file_is_removed_and_in_the_end_none_is_left(server: Settings) -> None:
    options = hypothesis_settings(
        max_examples=1500 if THOROUGH else 30, stateful_step_count=80 if THOROUGH else 50, derandomize=not THOROUGH,
        phases=[Phase.generate, Phase.shrink] if THOROUGH else [Phase.generate], report_multiple_bugs=False,
        database=None, deadline=None, print_blob=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(lambda: RetentionMachine(server), settings=options)
