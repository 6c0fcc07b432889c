"""The queue alone: a store on a real Redis, and slots whose workers the test moves by hand, call by call."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from jobs.callers import Caller
from jobs.forecast import Forecast
from jobs.models.spec import Kind
from jobs.requests.generation import GenerationRequest
from jobs.settings import Settings
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.submission import Accepted, Submission

OWNER = "host:1:1"


def request(model: str, work: int, kind: Kind = Kind.TEXT2IMG) -> GenerationRequest:
    """Return a request of ``work`` units (steps of one megapixel)."""
    return GenerationRequest(
        model=model, kind=kind, prompt="", negative_prompt="", seed=0, steps=work, guidance_scale=1,
        width=1000, height=1000,
    )  # fmt: skip


class StoreDriver:
    """An empty queue with these settings, or that of a store."""

    def __init__(self, server: Settings | JobStore, **options: Any) -> None:
        self.store = server if isinstance(server, JobStore) else JobStore(server.replace(**options))
        self.redis: Any = self.store.client
        self.redis.flushall()
        self._numbers = count(1)

    # ---- callers

    def accept(self, key: str = "a", *, job_id: str = "", **options: Any) -> Accepted:
        """Submit a job; ``caller_…`` options are limits of the key, ``model``, ``work`` and ``kind`` of the request."""
        limits = [name for name in options if name.startswith("caller_")]
        caller = Caller(key_id=key, **{name.removeprefix("caller_"): options.pop(name) for name in limits})
        wanted = request(options.pop("model", "m"), options.pop("work", 1), options.pop("kind", Kind.TEXT2IMG))
        job_id = job_id or f"{key}{next(self._numbers)}"
        return self.store.submit(job_id, Submission(request=wanted, caller=caller, **options))

    def submit(self, key: str = "a", **options: Any) -> str:
        return self.accept(key, **options).job_id

    def submit_many(self, number: int, key: str = "a", **options: Any) -> list[str]:
        return [self.submit(key, **options) for _ in range(number)]

    def change_request(self, job_id: str, **fields: Any) -> None:
        """Give a waiting job another request."""
        values = {**self.store.get(job_id).request.to_dict(), **fields}
        self.redis.hset(keys.JOB + job_id, "request", json.dumps(values))

    def limit(self, key: str, running: int) -> None:
        """Limit how many slots a key may hold at once."""
        self.store.script("limit_key", key=key, limit=running)

    def know(self, **seconds: float) -> None:
        """Set the seconds per unit of work of models, as if they had been measured."""
        self.redis.hset(keys.RATES, mapping=seconds)

    def forecast(self, job_id: str) -> Forecast:
        return self.store.forecast(job_id)[0]

    def state(self, job_id: str) -> str:
        return str(self.store.get(job_id).state)

    # ---- workers

    def open(self, slot: str = "gpu0", *models: str, resident: str = "", node: str = "host") -> None:
        """Register a worker for a slot."""
        facts = {"models": json.dumps(models or ["m"]), "resident": resident, "node": node}
        assert self.store.register(slot, OWNER, facts) is None

    def load(self, slot: str, resident: str) -> None:
        """Set the models that the slot has in memory."""
        self.store.set_facts(slot, OWNER, {"resident": resident})

    def at(self, slot: str = "gpu0") -> tuple[str, int]:
        """Return the job of a slot and its attempt; '' when it is free."""
        job_id, attempt = self.redis.hmget(keys.SLOT + slot, "job", "attempt")
        return job_id or "", int(attempt or 0)

    def start(self, slot: str = "gpu0") -> str:
        """Start the slot's job."""
        job_id, attempt = self.at(slot)
        assert self.store.start(job_id, attempt, slot=slot, owner=OWNER, device="cpu", run=f"{job_id}.{attempt}")
        return job_id

    def finish(self, slot: str = "gpu0", seconds: float = 1.0) -> str:
        """Finish the slot's job; there is nothing to deliver."""
        job_id, attempt = self.at(slot)
        if self.state(job_id) == "queued":
            self.start(slot)
        done = self.store.finish_run(job_id, attempt, slot=slot, node="", run_s=seconds)
        assert done
        return job_id

    def take(self, number: int, slot: str = "gpu0", seconds: float = 1.0) -> list[str]:
        """Finish the next ``number`` jobs of a slot; return them in the order in which they ran."""
        return [self.finish(slot, seconds) for _ in range(number)]

    def drain(self, slot: str = "gpu0", seconds: float = 1.0) -> list[str]:
        """Run jobs on a slot until none is left; return them in order."""
        order = []
        while self.at(slot)[0]:
            order.append(self.finish(slot, seconds))
        return order

    # ---- time

    def silence(self, slot: str) -> None:
        """Let the slot's lease lapse, and leave the slot silent for long."""
        self.redis.zadd(keys.LEASES, {slot: 1})
        self.sweep()
        self.redis.hset(keys.SLOT + slot, "suspect_at", 1)
        self.redis.zadd(keys.LEASES, {slot: 1})
        self.sweep()

    def sweep(self) -> None:
        self.redis.delete(keys.SWEPT_AT)
        if groups := self.redis.zrange(keys.PREEMPTORS, 0, -1):
            self.redis.zadd(keys.PREEMPTORS, dict.fromkeys(groups, 1))
        assert self.store.sweep() is not None

    def pass_deadline(self, job_id: str) -> None:
        """Let the time pass by which a waiting job must have started."""
        self.redis.hset(keys.JOB + job_id, "start_by", 1)
        self.redis.zadd(keys.DEADLINES, {job_id: 1}, xx=True)

    def let_time_come(self, job_id: str) -> None:
        """Let the time pass before which a waiting job may not start. The next sweep notices it."""
        self.redis.hset(keys.JOB + job_id, "not_before", 1)
        self.redis.zadd(keys.NOT_BEFORE, {job_id: 1}, xx=True)

    def active(self, key: str) -> set[str]:
        """Return the jobs that count towards the running limit of a key."""
        return set(self.redis.smembers(keys.ACTIVE + key))
