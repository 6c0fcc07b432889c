"""The simple model that ``test_store_machine.py`` compares the store with."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from bench.day.clocked_store import ClockedStore
from jobs.record import Output
from jobs.settings import Settings
from jobs.states import Interrupt
from jobs.store import keys
from tests.support.preemption_invariants import PREEMPT_MAX
from tests.support.store_driver import StoreDriver
from tests.support.store_invariants import ENDED, Snapshot

MAX_ATTEMPTS = 2
MODELS = {"gpu0": ("m",), "gpu1": ("m", "n"), "gpu2": ("n",)}
#: The host of each slot.
NODES = {"gpu0": "host", "gpu1": "host", "gpu2": "far"}
LIMITS = {"a": 1, "b": 2}
#: A stronger reason to interrupt a run replaces a weaker one.
STRENGTH = {"": 0, Interrupt.PREEMPT: 1, Interrupt.DRAIN: 2, Interrupt.PAUSE: 3}
#: Fields of the jobs that hold a slot: what was charged for them, and whose run they share.
CHARGES = ("charged", "charged_offer", "leader")


@dataclass
class Job:
    """The expected state of a job."""

    job_id: str
    key: str
    model: str
    pin: str | None
    job_class: str = "general"
    state: str = "queued"
    slot: str | None = None
    attempt: int = 0
    starts: int = 0
    run: str = ""
    #: Whether it may not start yet.
    early: bool = False
    deadline: bool = False
    overdue: bool = False
    #: Whether its run has reported that it can be interrupted (None: it has reported nothing), and why it is to be.
    resumable: bool | None = None
    interrupt: str = ""
    #: Whether its run is shared; and whether it shares none any more.
    shares: bool = False
    alone: bool = False
    has_checkpoint: bool = False
    #: Units of work: jobs share a run only if they have the same.
    work: int = 1
    #: The only host that has its checkpoint; '' for none, or if any host can read it.
    host: str = ""
    #: Paused for too long.
    forgotten: bool = False
    deliverer: str = ""
    lapsed: bool = False
    watched: bool = False
    outputs: list[Output] = field(default_factory=list)
    #: The record at the moment when the job ended.
    ended: dict[str, str] | None = None

    @property
    def has_no_slot(self) -> bool:
        return self.state == "queued" and self.slot is None

    @property
    def waits(self) -> bool:
        """Whether a slot may take it."""
        return self.has_no_slot and not self.early


@dataclass
class Slot:
    """The expected state of a slot."""

    owner: str
    holds: tuple[str, int] | None = None
    #: Jobs that share the run of this one.
    companions: list[tuple[str, int]] = field(default_factory=list)
    draining: bool = False
    lapsed: bool = False
    suspect: bool = False
    given_up: bool = False

    @property
    def all_held(self) -> list[tuple[str, int]]:
        return [*([self.holds] if self.holds else []), *self.companions]


class Message(NamedTuple):
    """A message that was sent to the queue of a slot, and the owner that received it."""

    job: Job
    attempt: int
    slot: str
    owner: str


T = TypeVar("T")


def _mostly(at: int, fitting: list[T], every: list[T]) -> T:
    chosen = fitting if fitting and at % 4 else every
    return chosen[-1 - at // 4 % len(chosen)]


class SteppingStore(ClockedStore):
    """A store for which each call takes a thirty-second of a second, and that draws no random members of sets.

    So the same calls have the same results, whatever else the machine does.
    """

    def __init__(self, server: Settings) -> None:
        settings = server.replace(
            max_attempts=MAX_ATTEMPTS, preempt_after_s=0.5, preempt_max=PREEMPT_MAX, slot_lease_s=3600
        )
        super().__init__(settings, settings.scheduling.class_weights)

    def adapted(self, text: str) -> str:
        first_member = r"redis.call('SORT', \1, 'ALPHA')[1]"
        return re.sub(r"redis\.call\('SRANDMEMBER', ([^,()]+)\)", first_member, super().adapted(text))

    def script(self, name: str, **arguments: Any) -> Any:
        self.now_s += 1 / 32
        return super().script(name, **arguments)


class StoreModel(RuleBasedStateMachine):
    """A store and a simple model of its jobs and slots, which must agree after every call."""

    def __init__(self, store: SteppingStore) -> None:
        super().__init__()
        self.driver = StoreDriver(store)
        self.store, self.redis = store, self.driver.redis
        store.now_s = int(time.time())
        for key, running in LIMITS.items():
            self.driver.limit(key, running)
        self.jobs: dict[str, Job] = {}
        self.slots: dict[str, Slot] = {}
        self.paused: set[str] = set()
        #: Every message that was ever sent.
        self.messages: list[Message] = []
        self.counts: Counter[str] = Counter()
        self.numbers = 0

    # ---- the model

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def job(self, at: int, *states: str) -> Job:
        """Return a job, preferably one in these states."""
        every = list(self.jobs.values())
        fitting = [job for job in every if job.state in states]
        return _mostly(at, fitting, every)

    def message(self, at: int, *states: str) -> Message:
        """Return a message, preferably a valid one whose job is in these states."""
        fitting = [m for m in self.messages if m.job.state in states and m.attempt == m.job.attempt]
        return _mostly(at, fitting, self.messages)

    def end(self, job: Job, state: str) -> None:
        job.state, job.overdue, job.forgotten, job.deliverer, job.interrupt = state, False, False, "", ""
        self.counts[state] += 1
        job.ended = self.record(job)

    def record(self, job: Job) -> dict[str, str]:
        record: dict[str, str] = self.redis.hgetall(keys.JOB + job.job_id)
        for name in CHARGES:  # removed when the slot is free
            record.pop(name, None)
        return record

    def leave_run(self, job: Job) -> None:
        job.alone, job.shares = job.alone or job.shares, False

    def requeue(self, job: Job) -> None:
        self.leave_run(job)
        if job.interrupt == "pause":
            self.set_aside(job)
            return
        job.state, job.slot, job.run, job.deliverer, job.lapsed = "queued", None, "", "", False
        job.resumable, job.interrupt = None, ""

    def ask_to_stop(self, job: Job, why: Interrupt) -> bool:
        """Interrupt a run, unless it cannot be resumed or stops for a stronger reason; return whether it stops."""
        if job.state == "running" and job.resumable and STRENGTH[job.interrupt] <= STRENGTH[why]:
            job.interrupt = why
        return bool(job.interrupt)

    def set_aside(self, job: Job) -> None:
        self.leave_run(job)
        job.state, job.slot, job.run, job.resumable, job.interrupt = "paused", None, "", None, ""

    def lose(self, job: Job, attempt: int) -> None:
        if job.attempt != attempt or job.slot is None or job.state not in ("queued", "running"):
            return
        if job.starts >= MAX_ATTEMPTS or attempt >= 10 * MAX_ATTEMPTS:
            self.end(job, "failed")
        else:
            self.requeue(job)

    def lose_companions(self, slot: Slot) -> None:
        companions, slot.companions = slot.companions, []
        for job_id, attempt in companions:
            self.lose(self.jobs[job_id], attempt)

    def give_back(self, slot: Slot) -> None:
        """The jobs that share a run go back to the queue; their runs do not count."""
        for job_id, attempt in slot.companions:
            job = self.jobs[job_id]
            if job.state == "running" and job.attempt == attempt:
                job.starts -= 1
                self.requeue(job)
        slot.companions = []

    def free(self, slot: str, job: Job, attempt: int) -> None:
        if slot in self.slots and (job.job_id, attempt) in self.slots[slot].all_held:
            if self.slots[slot].holds == (job.job_id, attempt):
                self.slots[slot].holds = None
                self.give_back(self.slots[slot])
            else:
                self.slots[slot].companions.remove((job.job_id, attempt))
            if job.slot and job.state in ("queued", "running"):
                self.requeue(job)  # the worker does not know of the job, or has forgotten it

    def may_run(self, name: str, job: Job) -> bool:
        slot = self.slots[name]
        return (
            not (slot.holds or slot.draining or slot.suspect or self.paused & {name, keys.ALL})
            and self.may_have(name, job)
        )

    def may_have(self, name: str, job: Job) -> bool:
        """Whether a slot may compute a job, if it takes one."""
        held = [self.jobs[job_id].key for other in self.slots.values() for job_id, _ in other.all_held]
        return (
            job.waits
            and job.model in MODELS[name]
            and job.pin in (None, name)
            and held.count(job.key) < LIMITS.get(job.key, 99)
        )

    def follow_join(self, leader: Message, joined: list[str], most: int) -> None:
        """Update the model: these waiting jobs share the run of another one from now on."""
        slot, first = self.slots[leader.slot], leader.job
        for job_id in joined:
            job = self.jobs[job_id]
            assert not job.overdue
            assert self.fits(leader.slot, first, job)
            job.state, job.slot, job.attempt, job.starts = "running", leader.slot, job.attempt + 1, job.starts + 1
            job.run, job.deadline, job.resumable = first.run, False, None
            slot.companions.append((job_id, job.attempt))
            self.messages.append(Message(job, job.attempt, leader.slot, leader.owner))
        if joined:
            first.resumable = False
            for job_id, _ in slot.all_held:
                self.jobs[job_id].shares = True
        if len(joined) < most - 1 and len(self.jobs) < 9:  # the search looks at the first few jobs only
            rest = [job for job in self.jobs.values() if not job.overdue and self.fits(leader.slot, first, job)]
            assert all(job.job_class == "off-peak" for job in rest)

    def fits(self, name: str, leader: Job, job: Job) -> bool:
        """Whether a job may share the run of another one."""
        alike = (job.model, job.work) == (leader.model, leader.work)
        return alike and self.may_have(name, job) and not (job.alone or job.has_checkpoint)

    def see_preemptions(self) -> None:
        """Update the model: the store has interrupted runs for other jobs, or needs that no more."""
        for job in self.jobs.values():
            if job.state == "running" and job.interrupt in ("", Interrupt.PREEMPT):
                found = self.redis.hget(keys.JOB + job.job_id, "interrupt") or ""
                assert found in ("", Interrupt.PREEMPT)
                assert not found or job.resumable
                job.interrupt = found

    def follow(self) -> None:
        """Update the model: jobs were bound to slots, and jobs past their deadline may have been found on the way."""
        self.see_preemptions()
        for job in self.jobs.values():
            if job.overdue and job.waits and self.redis.hget(keys.JOB + job.job_id, "state") == "expired":
                self.end(job, "expired")
        for name, slot in self.slots.items():
            job_id, attempt = self.driver.at(name)
            if not job_id or slot.holds == (job_id, attempt):
                continue
            job = self.jobs[job_id]
            assert not job.overdue
            assert self.may_run(name, job), (name, job_id)
            job.slot, job.attempt = name, job.attempt + 1
            assert attempt == job.attempt
            slot.holds = (job_id, attempt)
            self.messages.append(Message(job, attempt, name, slot.owner))

    # ---- invariants

    @invariant()
    def agrees(self) -> None:
        self.see_preemptions()
        now = Snapshot(self.redis, self.store.settings.scheduling.preempts)
        assert now.counters() == dict(self.counts)
        now.check()
        assert set(now.jobs) == set(self.jobs)
        for job_id, job in self.jobs.items():
            record = now.jobs[job_id]
            found = (record["state"], record.get("slot"), int(record["attempt"]), int(record.get("starts", 0)))
            assert found[0] == job.state
            assert found[2:] == (job.attempt, job.starts)
            assert found[1] == job.slot
            assert record.get("interrupt", "") == job.interrupt
            if job.ended is not None:
                for name in CHARGES:
                    record.pop(name, None)
                assert record == job.ended
        for name, slot in self.slots.items():
            facts = now.slots[name]
            held = (facts["job"], int(facts["attempt"])) if "job" in facts else None
            assert (facts["owner"], held) == (slot.owner, slot.holds)
            listed = [one.split() for one in facts.get("companions", "").split(",") if one]
            assert [(job_id, int(attempt)) for job_id, attempt in listed] == slot.companions
        assert set(now.slots) == set(self.slots)

    @invariant()
    def no_slot_idles_while_a_job_it_could_run_waits(self) -> None:
        for name in self.slots:
            idle_for = [
                job.job_id
                for job in self.jobs.values()
                if not job.overdue and self.may_run(name, job) and job.host in ("", NODES[name])
            ]
            assert not idle_for, name

    def teardown(self) -> None:
        """Check that every job ended at most once for its listeners."""
        events = [json.loads(entry["event"]) for _, entry in self.redis.xrange(keys.EVENTS)]
        ends = Counter(event["task_id"] for event in events if event["state"] in ENDED)
        assert all(number == 1 for number in ends.values())
        assert sum(ends.values()) == sum(self.counts[state] for state in ENDED)
