"""What is shown about jobs: places in the queue, expected times, lists, the fleet. Only reads."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from jobs import keys
from jobs.errors import InvalidRequest, JobNotFound, Problem
from jobs.record import Job
from jobs.slots import Slot
from jobs.states import JobState
from jobs.store import JobStore


@dataclass(frozen=True)
class Forecast:
    """Where a job stands."""

    #: 1 is next; 0 once it is bound to a slot; None when it is over.
    position: int | None
    #: Seconds until its outputs can be fetched; None while nothing like it was measured.
    eta_s: float | None


@dataclass(frozen=True)
class Fleet:
    """The whole service at one moment."""

    counts: dict[str, int]
    slots: list[Slot]
    #: Jobs accepted since the data was begun.
    submitted: int
    #: Hosts with a delivery worker.
    delivery_nodes: list[str]


def forecast(store: JobStore, job: Job) -> Forecast:
    """Position and expected time of a job. Cost: a few calls per model, whatever the number of jobs."""
    if job.state.is_terminal:
        return Forecast(None, None)
    if not job.waits:
        return Forecast(0, _under_way_s(store, job))
    lanes = [job.lane] if job.pin else sorted(store.call(lambda c: c.smembers(keys.LANES)))

    def read(client: Any) -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for lane in lanes:
            pipe.zcount(keys.LANE + str(lane), "-inf", f"({job.sequence}")
            pipe.zcard(keys.LANE + str(lane))
        pipe.hgetall(keys.WORK)
        pipe.hgetall(keys.RATES)
        pipe.smembers(keys.SLOTS)
        return list(pipe.execute())

    *counts, work, rates, slots = store.call(read)
    position, ahead_s, measured = 1, 0.0, True
    for lane, ahead, waiting in zip(lanes, counts[::2], counts[1::2], strict=True):
        # Pins stand in lanes of their own and do not delay jobs that any slot may run by more than one each.
        position += ahead
        if ahead:
            rate = rates.get(job.request.model if str(lane).startswith(keys.PIN) else lane)
            measured = measured and rate is not None
            ahead_s += ahead / max(1, waiting) * float(work.get(lane) or 0) * float(rate or 0)
    own_rate = rates.get(job.request.model)
    if own_rate is None or not measured or not slots:
        return Forecast(position, None)
    own_s = job.request.work * float(own_rate)
    return Forecast(position, _running_s(store, slots) + ahead_s / (1 if job.pin else len(slots)) + own_s)


def _under_way_s(store: JobStore, job: Job) -> float | None:
    """Seconds to the end of a job that has a slot: what its worker reports, before that what its model usually takes."""
    if job.state is JobState.DELIVERING:
        return None
    if job.run_eta_s is not None:
        return job.run_eta_s
    rate = store.call(lambda c: c.hget(keys.RATES, job.request.model))
    return None if rate is None else job.request.work * float(rate)


def _running_s(store: JobStore, slots: set[str]) -> float:
    """Seconds until the first of the slots is free, as far as its job has reported."""
    running = store.call(lambda c: _pipelined(c, [("hget", keys.SLOT + slot, "job") for slot in sorted(slots)]))
    if not all(running):
        return 0.0
    etas = store.call(lambda c: _pipelined(c, [("hget", keys.JOB + job_id, "eta_s") for job_id in running]))
    return min((float(eta) for eta in etas if eta), default=0.0)


def _pipelined(client: Any, commands: list[tuple[str, ...]]) -> list[Any]:
    pipe = client.pipeline(transaction=False)
    for name, *args in commands:
        getattr(pipe, name)(*args)
    return list(pipe.execute())


def list_jobs(
    store: JobStore, *, state: JobState | None = None, limit: int = 50, after: str | None = None
) -> tuple[list[Job], str | None, int]:
    """One page, newest first.

    Args:
        store: the store.
        state: only jobs in this state.
        limit: jobs per page.
        after: the last id of the page before.

    Returns:
        The jobs, the ``after`` of the next page (None at the end), and how many jobs there are in all.

    Raises:
        InvalidRequest: ``after`` is not (or no longer) in this list.
    """
    index = keys.STATE + state if state else keys.JOBS

    def read(client: Any) -> tuple[list[str], int]:
        first = 0
        if after is not None:
            rank = client.zrevrank(index, after)
            if rank is None:
                raise InvalidRequest(Problem("after", "must be an id of this list", after))
            first = rank + 1
        return client.zrevrange(index, first, first + limit), client.zcard(index)

    ids, total = store.call(read)
    page = ids[:limit]
    records = store.call(lambda c: _pipelined(c, [("hgetall", keys.JOB + job_id) for job_id in page]))
    jobs = [Job.from_hash(job_id, record) for job_id, record in zip(page, records, strict=True) if record]
    return jobs, page[-1] if len(ids) > limit else None, total


def ids_in_state(store: JobStore, *states: JobState) -> list[str]:
    """All ids in these states, oldest first."""
    return [job_id for state in states for job_id in store.call(lambda c, s=state: c.zrange(keys.STATE + s, 0, -1))]  # type: ignore[misc]


def fleet(store: JobStore) -> Fleet:
    """Counts by state, and every slot."""
    living = ("zrangebyscore", keys.NODES, str(time.time()), "+inf")
    members, nodes = store.call(lambda c: _pipelined(c, [("smembers", keys.SLOTS), living]))
    names = sorted(members)
    commands: list[tuple[str, ...]] = [("zcard", keys.STATE + state) for state in JobState]
    commands += [("hget", keys.COUNTERS, "submitted"), *(("hgetall", keys.SLOT + name) for name in names)]
    replies = store.call(lambda c: _pipelined(c, commands))
    counts = dict(zip((str(state) for state in JobState), replies, strict=False))
    slots = [
        Slot.from_hash(name, facts) for name, facts in zip(names, replies[len(counts) + 1 :], strict=True) if facts
    ]
    return Fleet(counts, slots, int(replies[len(counts)] or 0), sorted(nodes))


def find(store: JobStore, job_id: str) -> Job | None:
    """The job, or None."""
    try:
        return store.get(job_id)
    except JobNotFound:
        return None
