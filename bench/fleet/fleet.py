"""Fleets of slots, keys, models and waiting jobs, built and driven through the store without any worker."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.common import short_folder
from jobs.callers import Caller
from jobs.models.spec import Kind
from jobs.record import new_job_id
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from jobs.states import JobState
from jobs.store import keys, listing
from jobs.store.jobs import JobStore
from jobs.store.listing import JobFilter
from jobs.submission import Submission
from stack.embedded_redis.server import EmbeddedRedis

OWNER = "nobody:1:1"
#: One step of this size is one unit of work.
REQUEST = GenerationRequest(
    model="", kind=Kind.TEXT2IMG, prompt="a red circle on a blue ground, soft light, studio photograph",
    negative_prompt="", seed=1234567890, steps=30, guidance_scale=5.0, width=1000, height=1000,
)  # fmt: skip
#: Threads that submit the waiting jobs.
BUILDERS = 4
#: No lease or deadline lapses while a fleet is built and measured, seconds.
NEVER_S = 1_000_000


@dataclass(frozen=True)
class Shape:
    """The size of a fleet on each axis."""

    #: Half of them run jobs. The others are idle, because nobody waits for the models that they offer.
    slots: int = 8
    #: API keys with waiting jobs.
    keys: int = 20
    #: Models with waiting jobs.
    models: int = 5
    #: Groups of slots; each offers its own models.
    groups: int = 1
    #: Waiting jobs.
    depth: int = 1000


@contextlib.contextmanager
def built(shape: Shape) -> Iterator[Fleet]:
    """Yield a fleet on a Redis of its own."""
    with short_folder() as folder:
        settings = Settings.of(
            data_dir=folder, max_waiting=10 * shape.depth + 100_000, event_log_length=100, slot_lease_s=NEVER_S,
            resend_after_s=NEVER_S,
        )  # fmt: skip
        with EmbeddedRedis(settings):
            store = JobStore(settings.replace(redis_timeout_s=600))
            yield Fleet(store, shape)
            store.client.close()


class Fleet:
    """A store with slots and waiting jobs; all slots that serve waiting models run a job."""

    def __init__(self, store: JobStore, shape: Shape, seed: int = 1) -> None:
        self.store, self.shape = store, shape
        self._random = random.Random(seed)
        self.models = [f"model-{number}" for number in range(shape.models)]
        #: Slots that run jobs, and those that nobody needs, by name with the models that they offer.
        self.busy = {
            f"node{n // 8}.gpu{n % 8}": self.models[n % shape.groups :: shape.groups] for n in range(self.half)
        }
        self.idle = {f"spare{n // 8}.gpu{n % 8}": [f"spare-{n % shape.groups}"] for n in range(shape.slots - self.half)}
        self._callers = [
            Caller(key_id=f"service-{n}", job_class="general" if n % 4 else "premium") for n in range(shape.keys)
        ]
        self._submitted = 0
        #: Waiting jobs. Those that were bound since are removed when somebody finds out.
        self.waiting: list[str] = []
        self.store.client.hset(keys.RATES, mapping=dict.fromkeys((*self.models, "spare-0"), 1.0))
        self._build()

    @property
    def half(self) -> int:
        return (self.shape.slots + 1) // 2

    def _build(self) -> None:
        # No slot is registered yet, so the submissions look at none.
        self.waiting = self.submit_many(self.shape.depth + self.half)
        for slot in (*self.busy, *self.idle):
            self.register(slot)
        for slot in self.busy:
            self.start(slot)

    # ---- callers

    def submit(self, model: str = "", deadline_s: float = 0) -> str:
        """Submit a job of the next key; ``model``: by default one that others wait for."""
        self._submitted += 1
        caller = self._callers[self._submitted % len(self._callers)]
        request = dataclasses.replace(
            REQUEST, model=model or self._random.choice(self.models), steps=self._random.randint(10, 50)
        )
        submission = Submission(request=request, caller=caller, start_within_s=deadline_s)
        return self.store.submit(new_job_id(), submission).job_id

    def submit_many(self, number: int, deadline_s: float = 0) -> list[str]:
        with ThreadPoolExecutor(BUILDERS) as pool:
            return list(pool.map(lambda _: self.submit(deadline_s=deadline_s), range(number)))

    def any_waiting(self) -> str:
        """Return a job that waits."""
        while True:
            at = self._random.randrange(len(self.waiting))
            job_id = self.waiting[at]
            job = self.store.get(job_id)
            if job.state is JobState.QUEUED and not job.slot:
                return job_id
            self.waiting[at] = self.waiting[-1]
            self.waiting.pop()

    def page(self) -> list[str]:
        """Read the newest page of a list; return the ids of its jobs."""
        jobs = listing.page(self.store, JobFilter(), limit=50).jobs
        return [job.job_id for job in jobs]

    # ---- workers

    def register(self, slot: str) -> None:
        models = self.busy.get(slot) or self.idle[slot]
        facts = {"models": json.dumps(models), "resident": models[0], "node": slot.partition(".")[0]}
        assert self.store.register(slot, OWNER, facts) is None

    def any_busy(self) -> str:
        return self._random.choice(list(self.busy))

    def at(self, slot: str) -> tuple[str, int]:
        """Return the job of a slot and its attempt."""
        job_id, attempt = self.store.call(lambda client: client.hmget(keys.SLOT + slot, "job", "attempt"))
        assert job_id, f"{slot} has no job"
        return job_id, int(attempt)

    def start(self, slot: str) -> None:
        job_id, attempt = self.at(slot)
        assert self.store.start(job_id, attempt, slot=slot, owner=OWNER, device="cuda:0", run=f"{job_id}.{attempt}")

    def finish(self, slot: str, job_id: str, attempt: int) -> None:
        assert self.store.finish_run(job_id, attempt, slot=slot, node="", run_s=self._random.uniform(10, 50))

    def beat(self, slot: str) -> None:
        """Renew the lease of a slot, as its worker does every two seconds."""
        assert self.store.heartbeat(slot, OWNER, {}).held

    def sweep(self) -> None:
        """Sweep, however long ago the last sweep was."""
        self.store.client.delete(keys.SWEPT_AT)
        assert self.store.sweep() is not None
