"""Queries: single jobs and slots, the fleet. Nothing here writes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jobs.errors import JobNotFound
from jobs.record import CHANGING, Job
from jobs.record_fields import storage_of
from jobs.slots.model_use import USE_FACTS, ModelUse
from jobs.slots.slot import FACTS, Slot
from jobs.states import JobState
from jobs.store import keys
from jobs.store.jobs import JobStore
from jobs.store.pins import Pins, pins_from

#: An object store is shown as away for this long after the last failed attempt, in seconds.
AWAY_SHOWN_S = 60.0
#: Fields of a job that no list shows: what may be large, and what only workers and senders need.
_UNLISTED = frozenset({
    "result", "webhook", "max_run_s", "max_silence_s", "preview", "retry_of", "moderate", "alias", "handed_back",
    "run_eta_s", "checkpoint", "checkpoint_interval_s", "resumable", "not_resumable", "interrupt",
})  # fmt: skip
#: Names in the Redis hash of the fields of jobs in lists.
_LISTED = tuple(one.name for attribute, one in storage_of(Job).items() if attribute not in _UNLISTED)


@dataclass(frozen=True)
class Fleet:
    """The state of the whole service at one moment."""

    counts: dict[str, int]
    slots: list[Slot]
    #: Number of jobs accepted since the counters were started.
    submitted: int
    #: Hosts with a delivery worker.
    delivery_nodes: list[str]
    #: Hosts whose deliveries wait for the object store, each with the reason; '' if it is unknown.
    away_nodes: dict[str, str]
    #: Paused slots; ``*`` for the whole queue.
    paused: list[str]
    #: Number of waiting jobs by model.
    waiting_models: dict[str, int]
    #: Number of waiting jobs by class.
    waiting_classes: dict[str, int]
    #: Accuracy of the ETA given at submission: number of jobs, mean error and mean actual time in seconds.
    eta: dict[str, float]
    #: Number of jobs that ended since the counters were started, by state.
    ended: dict[str, int] = field(default_factory=dict)
    #: Pins of all slots.
    pins: Pins = field(default_factory=dict)

    def state_of(self, slot: Slot) -> str:
        """Return ``lost``, ``draining``, ``busy``, ``paused``, ``waiting`` or ``idle``."""
        if slot.suspect:
            return "lost"
        if slot.draining or (slot.job_id and slot.name in self.paused):
            return "draining"
        if slot.job_id:
            return "busy"
        if slot.name in self.paused:
            return "paused"
        return "waiting" if slot.blocked else "idle"

    @property
    def stuck_models(self) -> list[str]:
        """Models with waiting jobs that no live slot can run."""
        runnable = {model for slot in self.slots if not slot.suspect for model in slot.models}
        return sorted(set(self.waiting_models) - runnable)


def pipelined(client: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return the replies of commands that are sent together."""
    pipe = client.pipeline(transaction=False)
    for name, *args in commands:
        getattr(pipe, name)(*args)
    return list(pipe.execute())


def listed(store: JobStore, job_ids: Sequence[str]) -> list[Job]:
    """Return those of these jobs that exist, with the fields that lists show, in one round trip."""
    return [listed_job(job_id, texts) for job_id, texts in listed_texts(store, job_ids)]


def listed_texts(store: JobStore, job_ids: Sequence[str]) -> list[tuple[str, tuple[str | None, ...]]]:
    """Return those of these jobs that exist, each as its id and the texts of the fields that lists show."""
    records = store.call(lambda c: c.hmgets([keys.JOB + job_id for job_id in job_ids], _LISTED))
    state = _LISTED.index("state")
    return [(job_id, tuple(texts)) for job_id, texts in zip(job_ids, records, strict=True) if texts[state]]


def listed_job(job_id: str, texts: Sequence[str | None]) -> Job:
    """Return the job that has these texts in a list."""
    return Job.from_hash(job_id, {name: text for name, text in zip(_LISTED, texts, strict=True) if text is not None})


def of_key(store: JobStore, key_id: str, job_ids: Sequence[str]) -> list[str]:
    """Return those of these ids whose jobs belong to a key."""
    if not job_ids:
        return []
    found = store.call(lambda c: c.zmscore(f"{keys.JOBS}:{key_id}", list(job_ids)))
    return [job_id for job_id, score in zip(job_ids, found, strict=True) if score is not None]


def ids_in_state(store: JobStore, *states: JobState, key_id: str | None = None) -> list[str]:
    """Return the ids of all jobs in these states (of one key), oldest first."""
    suffix = f":{key_id}" if key_id else ""
    names = [keys.STATE + state + suffix for state in states]
    return [
        job_id
        for ids in store.call(lambda c: pipelined(c, [("zrange", n, "0", "-1") for n in names]))
        for job_id in ids
    ]


def dead(store: JobStore, limit: int = 100) -> list[Job]:
    """Return the jobs of the dead-letter list, which failed because their workers died, newest first."""
    return listed(store, store.call(lambda c: c.zrevrange(keys.DEAD, 0, limit - 1)))


def counts(store: JobStore) -> dict[str, int]:
    """Return the number of jobs by state."""
    numbers = store.call(lambda c: pipelined(c, [("zcard", keys.STATE + state) for state in JobState]))
    return dict(zip(map(str, JobState), numbers, strict=True))


def paused(store: JobStore) -> list[str]:
    """Return the paused slots; ``*`` for the whole queue."""
    return sorted(store.call(lambda c: c.smembers(keys.PAUSED)))


def fleet(store: JobStore, only_slot: str = "") -> Fleet:
    """Return the state of the service, with every slot or only with the named one."""
    now = time.time()
    commands: list[tuple[str, ...]] = [
        ("smembers", keys.SLOTS),
        ("zrangebyscore", keys.NODES, str(now), "+inf"),
        ("hgetall", keys.AWAY),
        ("smembers", keys.PAUSED),
        ("hgetall", keys.WAITING),
        ("hgetall", keys.COUNTERS),
        ("hgetall", keys.PINS),
        ("hgetall", keys.AWAY_WHY),
    ]
    commands += [("zcard", keys.STATE + state) for state in JobState]
    replies = store.call(lambda c: pipelined(c, commands))
    names, nodes, away, paused, waiting, counters, pins, reasons = replies[:8]
    return Fleet(
        counts=dict(zip(map(str, JobState), replies[8:], strict=True)),
        slots=_slots(store, sorted(name for name in names if only_slot in ("", name))),
        submitted=int(counters.get("submitted") or 0),
        delivery_nodes=sorted(nodes),
        away_nodes={
            node: reasons.get(node, "") for node, at in sorted(away.items()) if int(at) / 1000 > now - AWAY_SHOWN_S
        },
        paused=sorted(paused),
        waiting_models=_counted("model:", waiting),
        waiting_classes=_counted("class:", waiting),
        eta=_eta_accuracy(counters),
        ended={str(state): int(counters.get(state) or 0) for state in JobState if state.is_terminal},
        pins=pins_from(pins),
    )


def _slots(store: JobStore, names: list[str]) -> list[Slot]:
    facts = store.call(lambda c: c.hmgets([keys.SLOT + name for name in names], FACTS))
    return [_slot(name, tuple(values)) for name, values in zip(names, facts, strict=True) if any(values)]


@lru_cache(maxsize=4096)
def _slot(name: str, values: tuple[str | None, ...]) -> Slot:
    """Return a slot with these values of :data:`FACTS`: the same object as before if none of them has changed."""
    return Slot.from_hash(name, {fact: value for fact, value in zip(FACTS, values, strict=True) if value})


def _eta_accuracy(counters: dict[str, str]) -> dict[str, float]:
    jobs = int(counters.get("eta_jobs") or 0)
    error_s, actual_s = (float(counters.get(name) or 0) / max(1, jobs) for name in ("eta_error_s", "eta_actual_s"))
    return {"jobs": jobs, "mean_error_s": round(error_s, 3), "mean_actual_s": round(actual_s, 3)}


def slot(store: JobStore, name: str) -> Slot | None:
    """Return a slot, or None."""
    values = store.call(lambda c: c.hgetall(keys.SLOT + name))
    return Slot.from_hash(name, values) if values else None


def lease_holder(store: JobStore, slot: str) -> str:
    """Return the host whose worker holds the lease of a slot; '' if it has lapsed or there is no worker."""
    commands = [("hmget", keys.SLOT + slot, "owner", "suspect_at"), ("zscore", keys.LEASES, slot), ("time",)]
    (owner, suspect_at), lapses_at, (now_s, _) = store.call(lambda c: pipelined(c, commands))
    is_held = owner and not suspect_at and float(lapses_at or 0) > 1000 * now_s
    return str(owner).rsplit(":", 2)[0] if is_held else ""


def delivers(store: JobStore, node: str) -> bool:
    """Return whether a host has a delivery worker."""
    lapses_at, (now_s, _) = store.call(lambda c: pipelined(c, [("zscore", keys.NODES, node), ("time",)]))
    return bool(float(lapses_at or 0) > now_s)


def undelivered(store: JobStore, node: str) -> list[str]:
    """Return the ids of the jobs whose computed outputs wait on a host for delivery."""
    job_ids = ids_in_state(store, JobState.DELIVERING)
    nodes = store.call(lambda c: c.hmgets([keys.JOB + job_id for job_id in job_ids], ("node",)))
    return [job_id for job_id, [its_node] in zip(job_ids, nodes, strict=True) if its_node == node]


def model_use(store: JobStore, slot: str) -> ModelUse:
    """Return when the models in a slot's memory were used last."""
    values = store.call(lambda c: c.hmget(keys.SLOT + slot, USE_FACTS))
    return ModelUse.from_hash({name: value for name, value in zip(USE_FACTS, values, strict=True) if value})


def slot_names(store: JobStore) -> list[str]:
    """Return the names of all slots."""
    return list(store.call(lambda c: c.smembers(keys.SLOTS)))


def holds(store: JobStore, slot: str, job_id: str, attempt: int) -> bool:
    """Return whether a slot works on this attempt of a job, which may be over already."""
    facts = store.call(lambda c: c.hmget(keys.SLOT + slot, "job", "attempt"))
    return list(facts) == [job_id, str(attempt)]


def can_run(store: JobStore, model: str) -> bool:
    """Return whether a slot runs jobs of a model now, busy or not: it is alive, not paused and not blocked."""

    def read(client: Any) -> bool:
        offers = client.smembers(keys.MODEL_OFFERS + model)
        return any(pipelined(client, [("zcount", keys.OFFER_SLOTS + offer, 0, 0) for offer in offers]))

    return bool(store.call(read))


def waiting_for(store: JobStore, model: str) -> int:
    """Return the number of waiting jobs of a model."""
    return int(store.call(lambda c: c.hget(keys.WAITING, f"model:{model}")) or 0)


def job_id_of_path(store: JobStore, key_id: str, path: str) -> str | None:
    """Return the id of the newest finished job to whose output a caller of this key gave this name, or None."""
    job_id = store.call(lambda c: c.get(f"{keys.FILE}{key_id}:{path}"))
    return str(job_id) if job_id else None


def job_id_of_idempotency_key(store: JobStore, key_id: str, idempotency_key: str) -> str | None:
    """Return the id of the job that a caller of this key submitted with this idempotency key, or None."""
    found = store.call(lambda c: c.get(f"{keys.IDEMPOTENCY}{key_id}:{idempotency_key}"))
    return str(found).partition(" ")[0] if found else None


def rate_of(store: JobStore, model: str) -> float | None:
    """Return how many seconds a model needs for a unit of work on average; None before the first measurement."""
    found = store.call(lambda c: c.hget(keys.RATES, model))
    return float(found) if found else None


def waiting_work(store: JobStore) -> dict[str, float]:
    """Return the work of the waiting jobs by model."""
    found: dict[str, str] = store.call(lambda c: c.hgetall(keys.WORK))
    return {model: float(work) for model, work in found.items()}


def _counted(beginning: str, waiting: dict[str, str]) -> dict[str, int]:
    return {name.removeprefix(beginning): int(count) for name, count in waiting.items() if name.startswith(beginning)}


def find(store: JobStore, job_id: str) -> Job | None:
    """Return a job, or None."""
    try:
        return store.get(job_id)
    except JobNotFound:
        return None


def changing_fields(store: JobStore, job_ids: Sequence[str]) -> list[list[str | None]]:
    """Return the texts of the fields that change (:data:`jobs.record.CHANGING`) of jobs; all None for unknown ones."""
    return store.call(lambda c: c.hmgets([keys.JOB + job_id for job_id in job_ids], CHANGING))


def changing_fields_and_progress(store: JobStore, job_id: str) -> tuple[list[str | None], str]:
    """As :func:`changing_fields`, and what a worker over HTTP reported last (JSON; '' for nothing)."""
    commands: list[tuple[Any, ...]] = [("hmget", keys.JOB + job_id, CHANGING), ("get", keys.PROGRESS + job_id)]
    texts, reported = store.call(lambda c: pipelined(c, commands))
    return list(texts), reported or ""


def changing_of(record: Mapping[str, str]) -> list[str | None]:
    """Return the same texts of a record that was read as a whole."""
    return [record.get(name) for name in CHANGING]
