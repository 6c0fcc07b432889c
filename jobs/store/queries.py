"""What is shown about jobs: places in the queue, expected times, lists, the fleet. Only reads."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import InvalidRequest, JobNotFound, Problem
from jobs.record import Job
from jobs.slots.slot import Slot
from jobs.states import JobState
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.store.pins import Pins, pins_from

#: An object store that was away longer ago is not shown as such: no delivery has tried it since, seconds.
AWAY_SHOWN_S = 60.0


@dataclass(frozen=True)
class Fleet:
    """The whole service at one moment."""

    counts: dict[str, int]
    slots: list[Slot]
    #: Jobs accepted since the data was begun.
    submitted: int
    #: Hosts with a delivery worker.
    delivery_nodes: list[str]
    #: Those whose deliveries wait for the object store.
    away_nodes: list[str]
    #: ``*`` for the whole queue, or names of slots.
    paused: list[str]
    #: Number of waiting jobs by model.
    waiting_models: dict[str, int]
    #: … and by class.
    waiting_classes: dict[str, int]
    #: How far off the ETA given at submission was: jobs, mean error and mean actual time, seconds.
    eta: dict[str, float]
    #: Jobs that ended since the data was begun, by state.
    ended: dict[str, int] = field(default_factory=dict)
    #: What operators said about models that stay in memory.
    pins: Pins = field(default_factory=dict)

    @property
    def stuck_models(self) -> list[str]:
        """Models that jobs wait for and that no living slot can run."""
        runnable = {model for slot in self.slots if not slot.suspect for model in slot.models}
        return sorted(set(self.waiting_models) - runnable)


def _pipelined(client: Any, commands: list[tuple[str, ...]]) -> list[Any]:
    pipe = client.pipeline(transaction=False)
    for name, *args in commands:
        getattr(pipe, name)(*args)
    return list(pipe.execute())


def list_jobs(
    store: JobStore,
    *,
    key_id: str | None = None,
    state: JobState | None = None,
    limit: int = 50,
    after: str | None = None,
) -> tuple[list[Job], str | None, int]:
    """One page, newest first.

    Args:
        store: the store.
        key_id: only jobs of this key.
        state: only jobs in this state.
        limit: jobs per page.
        after: the last id of the page before.

    Returns:
        The jobs, the ``after`` of the next page (None at the end), and how many jobs there are in all.

    Raises:
        InvalidRequest: ``after`` is not (or no longer) in this list.
    """
    index = (keys.STATE + state if state else keys.JOBS) + (f":{key_id}" if key_id else "")

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


def ids_in_state(store: JobStore, *states: JobState, key_id: str | None = None) -> list[str]:
    """All ids in these states (of one key), oldest first."""
    suffix = f":{key_id}" if key_id else ""
    names = [keys.STATE + state + suffix for state in states]
    return [
        job_id
        for found in store.call(lambda c: _pipelined(c, [("zrange", n, "0", "-1") for n in names]))
        for job_id in found
    ]


def dead(store: JobStore, limit: int = 100) -> list[Job]:
    """Jobs that were given up because their workers died, newest first."""
    ids = store.call(lambda c: c.zrevrange(keys.DEAD, 0, limit - 1))
    return [job for job in (find(store, job_id) for job_id in ids) if job]


def fleet(store: JobStore, own: str = "") -> Fleet:
    """Counts by state, every slot (or only ``own``), what is paused and what is stuck."""
    now = time.time()
    members, nodes, away, paused, waiting, counters, pins = store.call(
        lambda c: _pipelined(
            c,
            [
                ("smembers", keys.SLOTS),
                ("zrangebyscore", keys.NODES, str(now), "+inf"),
                ("hgetall", keys.AWAY),
                ("smembers", keys.PAUSED),
                ("hgetall", keys.WAITING),
                ("hgetall", keys.COUNTERS),
                ("hgetall", keys.PINS),
            ],
        )
    )
    names = sorted(name for name in members if own in ("", name))
    commands: list[tuple[str, ...]] = [("zcard", keys.STATE + state) for state in JobState]
    commands += [("hgetall", keys.SLOT + name) for name in names]
    replies = store.call(lambda c: _pipelined(c, commands))
    counts = dict(zip((str(state) for state in JobState), replies, strict=False))
    facts = zip(names, replies[len(counts) :], strict=True)
    jobs = int(counters.get("eta_jobs") or 0)
    eta = {name: float(counters.get(f"eta_{name}") or 0) / max(1, jobs) for name in ("error_s", "actual_s")}
    return Fleet(
        counts=counts,
        slots=[Slot.from_hash(name, values) for name, values in facts if values],
        submitted=int(counters.get("submitted") or 0),
        delivery_nodes=sorted(nodes),
        away_nodes=sorted(node for node, at in away.items() if int(at) / 1000 > now - AWAY_SHOWN_S),
        paused=sorted(paused),
        waiting_models=_counted("model:", waiting),
        waiting_classes=_counted("class:", waiting),
        eta={"jobs": jobs, "mean_error_s": round(eta["error_s"], 3), "mean_actual_s": round(eta["actual_s"], 3)},
        ended={str(state): int(counters.get(state) or 0) for state in JobState if state.is_terminal},
        pins=pins_from(pins),
    )


def slot(store: JobStore, name: str) -> Slot | None:
    """A slot, or None."""
    values = store.call(lambda c: c.hgetall(keys.SLOT + name))
    return Slot.from_hash(name, values) if values else None


def slot_names(store: JobStore) -> list[str]:
    """The names of all slots."""
    return list(store.call(lambda c: c.smembers(keys.SLOTS)))


def holds(store: JobStore, slot: str, job_id: str, attempt: int) -> bool:
    """Whether a slot works on this attempt of a job; the job itself may be over."""
    facts = store.call(lambda c: c.hmget(keys.SLOT + slot, "job", "attempt"))
    return list(facts) == [job_id, str(attempt)]


def slot_description(store: JobStore, slot: str) -> dict[str, Any]:
    """What a worker over HTTP says about itself; empty for another slot."""
    text = store.call(lambda c: c.hget(keys.SLOT + slot, "about"))
    return dict(json.loads(str(text))) if text else {}


def waiting_for(store: JobStore, model: str) -> int:
    """Number of waiting jobs of a model."""
    return int(store.call(lambda c: c.hget(keys.WAITING, f"model:{model}")) or 0)


def job_id_of_path(store: JobStore, key_id: str, path: str) -> str | None:
    """The id of the job whose output a key's caller named so; None: there is none."""
    job_id = store.call(lambda c: c.get(f"{keys.FILE}{key_id}:{path}"))
    return str(job_id) if job_id else None


def _counted(beginning: str, waiting: dict[str, str]) -> dict[str, int]:
    return {name.removeprefix(beginning): int(count) for name, count in waiting.items() if name.startswith(beginning)}


def find(store: JobStore, job_id: str) -> Job | None:
    """The job, or None."""
    try:
        return store.get(job_id)
    except JobNotFound:
        return None
