"""The measured calls. Each round leaves the fleet as it found it."""

from __future__ import annotations

from collections.abc import Callable

from bench.fleet.fleet import OWNER, Fleet
from jobs.store import keys
from tests.support.redis_meter import Cost, RedisMeter

#: Jobs whose deadlines pass at the same moment.
EXPIRING = 10_000

#: Costs by name of the call.
Costs = dict[str, list[Cost]]


class Calls:
    """Drives a fleet and measures each call."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.costs: Costs = {}
        self._meter = RedisMeter(fleet.store)
        self._new_slots = 0

    def _measure(self, name: str, *parts: Callable[[], object]) -> None:
        cost = self._meter.measure(parts[0])
        for part in parts[1:]:
            cost += self._meter.measure(part)
        self.costs.setdefault(name, []).append(cost)

    def round(self) -> None:
        """Measure every call of callers and workers once."""
        self._callers()
        self._workers()
        self._operators()

    def _callers(self) -> None:
        fleet, store = self.fleet, self.fleet.store
        self._measure("submit, job waits", lambda: fleet.waiting.append(fleet.submit()))
        bound: list[str] = []
        self._measure("submit, a slot is idle", lambda: bound.append(fleet.submit("spare-0")))
        assert store.cancel(bound[0])[0]
        some = fleet.any_waiting()
        self._measure("status with position and ETA", lambda: store.get(some), lambda: store.forecast(some))
        page: list[str] = []
        self._measure("list of 50 with forecasts", lambda: page.extend(fleet.page()), lambda: store.forecast(*page))
        self._measure("cancel, job waits", lambda: store.cancel(some))

    def _workers(self) -> None:
        fleet, store = self.fleet, self.fleet.store
        slot = fleet.any_busy()
        job_id, attempt = fleet.at(slot)
        self._measure("heartbeat, slot runs", lambda: fleet.beat(slot))
        self._measure("heartbeat, slot is idle", lambda: fleet.beat(next(iter(fleet.idle))))
        self._measure("progress", lambda: store.progress(job_id, attempt, "denoising", 3, 30, 27.0))
        self._measure("finish a run, bind the next", lambda: fleet.finish(slot, job_id, attempt))
        self._measure("start", lambda: fleet.start(slot))
        fleet.waiting.append(fleet.submit())

    def _operators(self) -> None:
        fleet, store = self.fleet, self.fleet.store
        slot = fleet.any_busy()
        self._measure("pause a slot", lambda: store.pause_slots(slot))
        self._measure("resume a slot", lambda: store.pause_slots(slot, resume=True))
        self._measure("sweep, nothing to do", fleet.sweep)
        self._new_slots += 1
        new = f"new{self._new_slots}.gpu0"
        fleet.busy[new] = fleet.busy[slot]
        self._measure("register, bind a job", lambda: fleet.register(new))
        self._measure("leave, job waits again", lambda: store.leave(new, OWNER))
        del fleet.busy[new]

    def resume_all(self) -> None:
        """Measure the end of a pause during which all slots became free."""
        fleet, store = self.fleet, self.fleet.store
        self._measure("pause the queue", store.pause_slots)
        for slot in fleet.busy:
            fleet.finish(slot, *fleet.at(slot))
        self._measure("resume the queue, all slots are free", lambda: store.pause_slots(resume=True))
        for slot in fleet.busy:
            fleet.start(slot)

    def expire(self, number: int = EXPIRING) -> None:
        """Measure the sweeps that end jobs whose deadlines passed at once, and those that delete their records."""
        fleet, client = self.fleet, self.fleet.store.client
        ids = fleet.submit_many(number, deadline_s=1000)
        with client.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hset(keys.JOB + job_id, "start_by", 1)
                pipe.zadd(keys.DEADLINES, {job_id: 1}, xx=True)
            pipe.execute()
        self._measure(f"{number:,} jobs expire", lambda: self._sweep_all(keys.DEADLINES))
        with client.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.zadd(keys.EXPIRING, {job_id: 1}, xx=True)
            pipe.execute()
        self._measure(f"{number:,} records are deleted", lambda: self._sweep_all(keys.EXPIRING))

    def _sweep_all(self, index: str) -> None:
        while self.fleet.store.client.zcount(index, "-inf", 1):
            self.fleet.sweep()
