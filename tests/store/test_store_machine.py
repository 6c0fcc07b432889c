"""The store under every call in any order: late, repeated, stale and out of turn.

A simple model of jobs and slots predicts the result and the effect of each call. Which of the waiting jobs a slot gets
is up to the scheduler (``test_scheduling.py``); whether the slot may have it is checked here.
``HYPOTHESIS_PROFILE=thorough`` searches much longer, with new seeds, and shrinks what it finds.
"""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from jobs.errors import JobNotFound
from jobs.record import Output
from jobs.settings import Settings
from jobs.states import Interrupt
from jobs.store import keys
from jobs.store.slots import SlotHeld
from tests.support.store_calls import CallersAndRuns, which
from tests.support.store_invariants import ENDED
from tests.support.store_model import MAX_ATTEMPTS, MODELS, NODES, Slot, SteppingStore

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"

slots = st.sampled_from(sorted(MODELS))
deliverers = st.sampled_from(["io1", "io2"])


class StoreMachine(CallersAndRuns):
    """All calls of the store."""

    @initialize(
        names=st.sampled_from([("gpu0", "gpu1", "gpu2"), ("gpu0", "gpu2"), ("gpu1",), ()]),
        jobs=st.lists(st.tuples(st.sampled_from(["a", "b", keys.NOBODY]), st.sampled_from(["m", "n"])), max_size=6),
    )
    def begin(self, names: tuple[str, ...], jobs: list[tuple[str, str]]) -> None:
        for name in names:
            self.register(name, False, False)
        for key, model in jobs:
            self.submit_some(key, model, 1)

    # ---- delivery

    @precondition(lambda self: self.messages)
    @rule(at=which, owner=deliverers)
    def claim(self, at: int, owner: str) -> None:
        job, attempt, *_ = self.message(at, "delivering")
        free = job.deliverer in ("", owner) or job.lapsed
        mine = job.state == "delivering" and job.attempt == attempt and free
        assert bool(self.store.claim(job.job_id, attempt, owner)) == mine
        if mine:
            job.deliverer, job.lapsed = owner, False

    @precondition(lambda self: self.messages)
    @rule(at=which, owner=deliverers)
    def defer(self, at: int, owner: str) -> None:
        job, attempt, *_ = self.message(at, "delivering")
        self.store.defer(job.job_id, attempt, owner, 60, away=False)
        if job.state == "delivering" and job.attempt == attempt and job.deliverer == owner:
            job.deliverer = ""

    @precondition(lambda self: any(job.deliverer for job in self.jobs.values()))
    @rule(at=which)
    def delivery_stalls(self, at: int) -> None:
        job = [job for job in self.jobs.values() if job.deliverer][-1]
        self.redis.hset(keys.JOB + job.job_id, "next_look_at", 1)
        self.redis.zadd(keys.DELIVERING, {job.job_id: 1}, xx=True)
        job.lapsed = True

    @precondition(lambda self: self.messages)
    @rule(at=which, owner=deliverers)
    def deliver(self, at: int, owner: str) -> None:
        job, attempt, *_ = self.message(at, "delivering")
        outputs = [Output(f"{job.job_id}.{attempt}.{owner}", "image/png", 1, "0", 1, 1)]
        current = job.state == "delivering" and (job.attempt, job.deliverer) == (attempt, owner)
        repeated = job.state == "succeeded" and job.attempt == attempt and job.outputs == outputs
        assert self.store.deliver(job.job_id, attempt, owner, outputs) == (current or repeated)
        if current:
            job.outputs, job.deliverer = outputs, ""
            self.end(job, "succeeded")

    @precondition(lambda self: self.messages)
    @rule(at=which)
    def recompute(self, at: int) -> None:
        job, attempt, *_ = self.message(at, "delivering")
        self.store.recompute(job.job_id, attempt)
        if job.state == "delivering" and job.attempt == attempt:
            if job.starts >= MAX_ATTEMPTS:
                self.end(job, "failed")
            else:
                self.requeue(job)
        self.follow()

    # ---- slots

    @rule(name=slots, takeover=st.booleans(), same=st.booleans())
    def register(self, name: str, takeover: bool, same: bool) -> None:
        old = self.slots.get(name)
        owner = old.owner if old and same else f"host:{self.number()}:1"
        facts = {"models": json.dumps(MODELS[name]), "node": NODES[name]}
        answer = self.store.register(name, owner, facts, takeover=takeover)
        if old and old.owner != owner and not takeover and not old.lapsed:
            assert isinstance(answer, SlotHeld)
            return
        assert not isinstance(answer, SlotHeld)
        self.slots[name] = Slot(owner)
        self.lose_slot(old)
        self.follow()

    def lose_slot(self, slot: Slot | None) -> None:
        if slot and slot.holds:
            self.lose_companions(slot)
            self.lose(self.jobs[slot.holds[0]], slot.holds[1])

    @rule(name=slots, resident=st.sampled_from(["", "m", "n", "m,n"]), stale=st.booleans())
    def heartbeat(self, name: str, resident: str, stale: bool) -> None:
        slot = self.slots.get(name)
        owner = slot.owner if slot and not stale else "host:0:0"
        beat = self.store.heartbeat(name, owner, {"resident": resident})
        assert beat.held == bool(slot and not stale)
        if slot and beat.held:
            held = slot.holds
            slot.lapsed = slot.suspect = slot.given_up = False
            self.follow()
            assert held in (None, slot.holds)
            assert (beat.job_id, beat.attempt) == (slot.holds or ("", 0))

    @precondition(lambda self: len(self.jobs) > 2)
    @rule(name=slots, off=st.booleans())
    def leave(self, name: str, off: bool) -> None:
        slot = self.slots.get(name)
        if slot is None:
            assert self.store.leave(name, "host:0:0") is None
            return
        held = slot.holds[0] if slot.holds else None
        if not off:
            asks = held is not None and self.ask_to_stop(self.jobs[held], Interrupt.DRAIN)
            assert self.store.drain(name, slot.owner) == (held or "", asks)
            slot.draining, slot.lapsed, slot.suspect, slot.given_up = True, False, False, False
            return
        handed_back = self.store.leave(name, slot.owner)
        assert handed_back == held
        del self.slots[name]
        if held and (job := self.jobs[held]).state in ("queued", "running"):
            job.starts -= job.state == "running"
            self.requeue(job)
        if slot.companions:
            self.give_back(slot)
        self.follow()

    # ---- time

    @precondition(lambda self: self.slots and len(self.jobs) > 2)
    @rule(name=slots, long=st.booleans())
    def lapse(self, name: str, long: bool) -> None:
        """Let a slot go silent; ``long``: until a sweep gives it up."""
        if slot := self.slots.get(name):
            self.redis.zadd(keys.LEASES, {name: 1})
            slot.lapsed = True
            if long and slot.suspect:
                self.redis.hset(keys.SLOT + name, "suspect_at", 1)
                slot.given_up = True

    @precondition(lambda self: any(job.deadline and job.state == "queued" for job in self.jobs.values()))
    @rule(at=which)
    def deadline_passes(self, at: int) -> None:
        timed = [job for job in self.jobs.values() if job.deadline and job.state == "queued"]
        job = timed[-1 - at % len(timed)]
        self.driver.pass_deadline(job.job_id)
        job.overdue = True

    @precondition(lambda self: any(job.early and job.has_no_slot for job in self.jobs.values()))
    @rule(at=which)
    def time_comes(self, at: int) -> None:
        """A job may start from now on."""
        early = [job for job in self.jobs.values() if job.early and job.has_no_slot]
        job = early[-1 - at % len(early)]
        self.driver.let_time_come(job.job_id)
        job.early = False
        self.sweep()

    @precondition(lambda self: any(job.state == "paused" for job in self.jobs.values()))
    @rule(at=which)
    def pause_takes_too_long(self, at: int) -> None:
        paused = [job for job in self.jobs.values() if job.state == "paused"]
        job = paused[-1 - at % len(paused)]
        self.redis.zadd(keys.DEADLINES, {job.job_id: 1}, xx=True)
        job.forgotten = True

    @rule()
    def sweep(self) -> None:
        given_up = {name for name, slot in self.slots.items() if slot.given_up}
        sent = {(slot.holds[0], slot.holds[1], name) for name, slot in self.slots.items() if slot.holds}
        for name, slot in self.slots.items():
            if slot.suspect and not slot.given_up:  # however many calls there were, it is watched until `lapse` says so
                self.redis.hset(keys.SLOT + name, "suspect_at", int(1000 * self.store.now_s))
        self.redis.delete(keys.SWEPT_AT)
        self.redis.zadd(keys.ASSIGNED, {job_id: 1 for job_id, *_ in sent} or {"-": 1}, xx=True)
        sweep = self.store.sweep()
        assert sweep is not None
        assert self.store.sweep() is None
        assert set(sweep.lost_slots) == given_up
        for name in given_up:
            self.lose_slot(self.slots.pop(name))
        for slot in self.slots.values():
            slot.suspect = slot.suspect or slot.lapsed
        for job in self.jobs.values():
            if (job.overdue and job.has_no_slot) or job.forgotten:
                self.end(job, "expired")
        self.follow()
        for delivery in sweep.redeliveries:
            job = self.jobs[delivery.job_id]
            assert (job.state, job.attempt, delivery.node) == ("delivering", delivery.attempt, "host")

    @precondition(lambda self: self.counts["submitted"] > 2)
    @rule()
    def forget_keys(self) -> None:
        """Let keys that have no job, and offers without slots, be forgotten."""
        for _ in range(2):
            self.redis.delete(keys.SERVED_WALK)
            self.sweep()
            for name, note in self.redis.hgetall(keys.UNUSED).items():
                self.redis.hset(keys.UNUSED, name, note.split()[0] + " 1")
        busy = {job.key for job in self.jobs.values() if job.waits}
        busy |= {self.jobs[job_id].key for slot in self.slots.values() for job_id, _ in slot.all_held}
        of_keys = [name.split("|") for name in self.redis.hkeys(keys.SERVED) if name.count("|") == 2]
        assert {key for _, key, _ in of_keys} <= busy

    @precondition(lambda self: any(job.state in ENDED for job in self.jobs.values()))
    @rule(at=which)
    def forget(self, at: int) -> None:
        """Let the record of a finished job expire."""
        ended = [job for job in self.jobs.values() if job.state in ENDED]
        job = ended[-1 - at % len(ended)]
        self.redis.zadd(keys.EXPIRING, {job.job_id: 1})
        self.sweep()
        if all(job.job_id != job_id for slot in self.slots.values() for job_id, _ in slot.all_held):
            del self.jobs[job.job_id]
            with pytest.raises(JobNotFound):
                self.store.get(job.job_id)
            job.state, job.attempt = "gone", -1


@pytest.mark.timeout(0 if THOROUGH else 400)
def test_the_store_keeps_its_rules_whatever_is_called_in_which_order(server: Settings) -> None:
    options = hypothesis_settings(
        max_examples=2000 if THOROUGH else 40, stateful_step_count=80 if THOROUGH else 50, derandomize=not THOROUGH,
        phases=[Phase.generate, Phase.shrink] if THOROUGH else [Phase.generate], report_multiple_bugs=False,
        database=None, deadline=None, print_blob=False, suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    store = SteppingStore(server)
    run_state_machine_as_test(lambda: StoreMachine(store), settings=options)
