"""Rules of ``test_store_machine.py`` for callers and runs: each checks the result and the change of a call."""

from __future__ import annotations

import time

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from jobs.errors import Conflict
from jobs.models.spec import Kind
from jobs.outbound.webhook import EVENTS, Webhook
from jobs.states import Interrupt
from jobs.store import keys, previews
from jobs.store.runs import StepReply
from tests.support.store_invariants import ENDED
from tests.support.store_model import MODELS, NODES, STRENGTH, Job, Message, StoreModel

#: Index that selects one of the existing objects.
which = st.integers(0, 15) | st.integers(0, 160)


class CallersAndRuns(StoreModel):
    """Messages arrive in any order, late and more than once."""

    # ---- callers

    @rule(
        key=st.sampled_from(["a", "b", keys.NOBODY]), model=st.sampled_from(["m", "n"]), deadline=st.booleans(),
        pin=st.sampled_from([None, None, None, "gpu0", "gpu1"]), priority=st.sampled_from([0, 0, 3]),
        job_class=st.sampled_from(["general", "premium", "off-peak"]), work=st.integers(1, 3),
        early=st.sampled_from([False, False, True]),
        webhook=st.sampled_from([None, Webhook("http://example.org/"), Webhook("http://example.com:81/", EVENTS)]),
    )  # fmt: skip
    def submit(
        self, key: str, model: str, deadline: bool, pin: str | None, priority: int, job_class: str, work: int,
        webhook: Webhook | None, early: bool,
    ) -> None:  # fmt: skip
        job = Job(f"job{self.number()}", key, model, pin, job_class, deadline=deadline, early=early, work=work)
        accepted = self.driver.accept(
            key, job_id=job.job_id, model=model, work=work, pin=pin, priority=priority, job_class=job_class,
            start_within_s=600 if deadline else 0, webhook=webhook,
            not_before_ms=int(1000 * time.time()) + 3_600_000 if early else None,
            kind=Kind.TEXT2VIDEO if work == 2 else Kind.TEXT2IMG,  # the store keeps a list of videos
        )  # fmt: skip
        self.jobs[job.job_id] = job
        self.counts["submitted"] += 1
        self.follow()
        assert (accepted.forecast.position == 0) == (job.slot is not None)

    @rule(key=st.sampled_from(["a", "b", keys.NOBODY]), model=st.sampled_from(["m", "n"]), number=st.integers(1, 4))
    def submit_some(self, key: str, model: str, number: int) -> None:
        for _ in range(number):
            self.submit(key, model, False, None, 0, "general", 1, None, False)

    @precondition(lambda self: self.jobs)
    @rule(at=which)
    def cancel(self, at: int) -> None:
        job = self.job(at, "running", "delivering")
        changed, stop = self.store.cancel(job.job_id)
        assert changed == (job.state not in ENDED)
        assert stop == (job.slot if job.state == "running" else None)
        if changed:
            bound = job.slot if job.state == "queued" else None
            self.end(job, "cancelled")
            if bound:
                self.free(bound, job, job.attempt)
        self.follow()

    @precondition(lambda self: self.jobs)
    @rule(at=which)
    def move_to_front(self, at: int) -> None:
        job = self.job(at, "queued")
        try:
            self.store.move_to_front(job.job_id)
        except Conflict:
            assert not job.has_no_slot
        else:
            assert job.has_no_slot
            self.follow()

    @precondition(lambda self: self.jobs)
    @rule(at=which)
    def pause_job(self, at: int) -> None:
        job = self.job(at, "queued", "running")
        if job.state == "running" and job.resumable is None:
            return  # the call would wait until the run has said whether it can be interrupted
        if job.state == "running" and job.resumable:
            assert self.store.pause(job.job_id) == "running"
            job.interrupt = "pause"
            return
        if job.state not in ("queued", "paused"):
            with pytest.raises(Conflict):
                self.store.pause(job.job_id)
            return
        assert self.store.pause(job.job_id) == "paused"
        held = job.slot
        self.set_aside(job)
        if held:
            self.free(held, job, job.attempt)
        self.follow()

    @precondition(lambda self: any(job.state == "paused" for job in self.jobs.values()))
    @rule(at=which)
    def resume_job(self, at: int) -> None:
        job = self.job(at, "paused")
        if job.state in ENDED:
            with pytest.raises(Conflict):
                self.store.resume(job.job_id)
            return
        assert self.store.resume(job.job_id) == (job.state == "paused" or job.interrupt == "pause")
        if job.interrupt == "pause":
            job.interrupt = Interrupt.DRAIN if job.slot in self.slots and self.slots[job.slot].draining else ""
        if job.state == "paused":
            job.state, job.forgotten = "queued", False
        self.follow()

    @precondition(lambda self: len(self.jobs) > 2)
    @rule(slot=st.sampled_from([*MODELS, keys.ALL]), resume=st.booleans())
    def pause_slots(self, slot: str, resume: bool) -> None:
        self.store.pause_slots(slot, resume=resume)
        (self.paused.discard if resume else self.paused.add)(slot)
        self.follow()

    @precondition(lambda self: self.paused)
    @rule()
    def resume_all(self) -> None:
        for slot in sorted(self.paused):
            self.pause_slots(slot, True)

    # ---- runs

    @precondition(lambda self: self.messages)
    @rule(at=which, repeat=st.booleans(), stranger=st.booleans())
    def start(self, at: int, repeat: bool, stranger: bool) -> None:
        """``stranger``: the message reached an older worker of the slot."""
        self.start_of(self.message(at, "queued"), repeat, stranger)

    def start_of(self, message: Message, repeat: bool, stranger: bool) -> None:
        job, attempt, slot, owner = message
        owner = "host:0:0" if stranger else owner
        run = job.run if repeat and job.run else f"run{self.number()}"
        current = job.state == "queued" and (job.slot, job.attempt) == (slot, attempt)
        current = current and self.slots[slot].owner == owner
        known = job.state == "running" and job.attempt == attempt and job.run == run
        started = self.store.start(job.job_id, attempt, slot=slot, owner=owner, device="cpu", run=run)
        assert bool(started) == (current or known)
        if current:
            job.state, job.run, job.deadline, job.overdue = "running", run, False, False
            job.resumable = None
            job.starts += 1

    @precondition(lambda self: any(slot.holds for slot in self.slots.values()))
    @rule(at=which, node=st.sampled_from(["", "host"]), number=st.integers(1, 3))
    def work(self, at: int, node: str, number: int) -> None:
        """Let workers do the next step: start their job, or end it."""
        for _ in range(number):
            held = [
                m
                for m in self.messages
                if m.slot in self.slots and (m.job.job_id, m.attempt) in self.slots[m.slot].all_held
            ]
            if not held:
                return
            message = held[at % len(held)]
            if message.job.state == "queued":
                self.start_of(message, repeat=False, stranger=False)
            else:
                self.compute_of(message, node, 1.0)

    @precondition(lambda self: self.messages)
    @rule(at=which, step=st.integers(0, 10), resumable=st.sampled_from([True, True, False]))
    def progress(self, at: int, step: int, resumable: bool) -> None:
        job, attempt, *_ = self.message(at, "running")
        current = job.state == "running" and job.attempt == attempt
        answer = self.store.progress(job.job_id, attempt, "denoising", step, 10, 0.5, resumable=resumable)
        if current:
            job.resumable, job.interrupt = resumable, job.interrupt if resumable else ""
        is_to_stop = StepReply.INTERRUPT if job.interrupt else StepReply.SHOW if job.watched else StepReply.GO_ON
        assert answer is (is_to_stop if current else StepReply.STOP)

    @precondition(lambda self: any(slot.holds for slot in self.slots.values()))
    @rule()
    def all_runs_are_resumable(self) -> None:
        """Start all jobs that have a slot, and let their runs report that they can be interrupted."""
        for message in list(self.messages):
            slot, job = self.slots.get(message.slot), message.job
            if slot is None or slot.holds != (job.job_id, message.attempt):
                continue
            if job.state == "queued" and slot.owner == message.owner:
                self.start_of(message, repeat=False, stranger=False)
            if job.state == "running":
                self.store.progress(job.job_id, message.attempt, "denoising", 1, 10, 9.0, resumable=True)
                job.resumable = True

    @precondition(lambda self: self.messages and self.jobs)
    @rule(at=which, why=st.just(Interrupt.DRAIN))
    def interrupt(self, at: int, why: Interrupt) -> None:
        job = self.job(at, "running")
        before = job.interrupt
        stops = self.store.interrupt(job.job_id, why)
        self.ask_to_stop(job, why)
        assert stops == (job.interrupt == why and STRENGTH[before] <= STRENGTH[why])

    @precondition(lambda self: self.messages)
    @rule(at=which, step=st.integers(1, 9), key=st.sampled_from(["", "", "checkpoint"]))
    def keep_checkpoint(self, at: int, step: int, key: str) -> None:
        job, attempt, slot, _ = self.message(at, "running")
        current = job.state == "running" and job.attempt == attempt
        node = NODES[slot]
        assert self.store.keep_checkpoint(job.job_id, attempt, step=step, age_s=0, node=node, key=key) == current
        job.has_checkpoint = job.has_checkpoint or current
        if current:
            job.host = "" if key else node

    @precondition(lambda self: any(job.host and job.waits for job in self.jobs.values()))
    @rule(at=which)
    def its_host_stays_busy(self, at: int) -> None:
        """A job has waited for the host of its checkpoint for long enough: any slot takes it."""
        waiting = [job for job in self.jobs.values() if job.host and job.waits]
        job = waiting[-1 - at % len(waiting)]
        self.redis.hset(keys.JOB + job.job_id, "skipped_at", 1)
        host, job.host = job.host, ""
        for name, slot in self.slots.items():
            self.store.heartbeat(name, slot.owner, {})
            slot.lapsed = slot.suspect = slot.given_up = False
        self.follow()
        assert job.overdue or not any(self.may_run(name, job) for name in self.slots)
        job.host = host if job.waits else ""

    @precondition(lambda self: any(slot.holds for slot in self.slots.values()))
    @rule(at=which, most=st.integers(2, 4))
    def share(self, at: int, most: int) -> None:
        """Start the job of a slot, and let waiting jobs share its run."""
        holds = {name: slot.holds for name, slot in self.slots.items()}
        held = [m for m in self.messages if holds.get(m.slot) == (m.job.job_id, m.attempt)]
        message = held[at % len(held)]
        self.start_of(message, repeat=False, stranger=False)
        self.join_of(message, most)
        self.join_of(message, most)

    @precondition(lambda self: self.messages)
    @rule(at=which, most=st.integers(2, 4))
    def join(self, at: int, most: int) -> None:
        self.join_of(self.message(at, "running"), most)

    def join_of(self, message: Message, most: int) -> None:
        job, attempt, name, _ = message
        slot = self.slots.get(name)
        joined = [other.job_id for other in self.store.join(job.job_id, attempt, slot=name, most=most)]
        if not slot or slot.holds != (job.job_id, attempt) or job.state != "running":
            assert joined == []
        elif slot.companions:
            assert joined == [job_id for job_id, _ in slot.companions]
        elif joined or not (
            slot.draining or slot.suspect or self.paused & {name, keys.ALL} or job.interrupt or job.alone
            or job.has_checkpoint
        ):
            self.follow_join(message, joined, most)

    @precondition(lambda self: self.messages)
    @rule(at=which)
    def split(self, at: int) -> None:
        job, attempt, name, _ = self.message(at, "running")
        self.store.split(job.job_id, attempt, slot=name)
        slot = self.slots.get(name)
        if slot and slot.holds == (job.job_id, attempt):
            self.give_back(slot)
            self.leave_run(job)
        self.follow()

    @precondition(lambda self: self.messages)
    @rule(at=which, pauses=st.booleans())
    def hand_over(self, at: int, pauses: bool) -> None:
        job, attempt, slot, _ = self.message(at, "running")
        state = self.store.hand_over(job.job_id, attempt, slot=slot, pauses=pauses)
        if job.state == "running" and job.attempt == attempt:
            job.starts -= 1
            (self.set_aside if pauses else self.requeue)(job)
        self.free(slot, job, attempt)
        self.follow()
        assert state == (job.state if job.job_id in self.jobs else "")

    @precondition(lambda self: self.messages)
    @rule(at=which)
    def preview(self, at: int) -> None:
        job, attempt, *_ = self.message(at, "running")
        current = job.state == "running" and job.attempt == attempt
        before = previews.newest(self.store, job.job_id)
        step = self.number()
        assert self.store.preview(job.job_id, attempt, step, b"picture", "image/jpeg") == current
        after = previews.newest(self.store, job.job_id)
        if current:
            assert after is not None
            assert (after.attempt, after.step, after.content) == (attempt, step, b"picture")
        else:
            assert after == before

    @precondition(lambda self: any(job.state not in ENDED for job in self.jobs.values()))
    @rule(at=which)
    def ask_for_previews(self, at: int) -> None:
        live = [job for job in self.jobs.values() if job.state not in ENDED]
        job = live[-1 - at % len(live)]
        previews.ask(self.store, job.job_id)
        job.watched = True

    @precondition(lambda self: self.messages)
    @rule(at=which, node=st.sampled_from(["", "host"]), run_s=st.sampled_from([0.0, 0.5, 2.0]))
    def compute(self, at: int, node: str, run_s: float) -> None:
        self.compute_of(self.message(at, "running"), node, run_s)

    def compute_of(self, message: Message, node: str, run_s: float) -> None:
        job, attempt, slot, _ = message
        mine = job.attempt == attempt
        repeated = mine and (job.state == "delivering" or (job.state == "succeeded" and not node))
        current = mine and job.state == "running"
        owned = self.store.finish_run(job.job_id, attempt, slot=slot, node=node, run_s=run_s)
        assert owned == (current or repeated)
        if current and node:
            job.state, job.interrupt = "delivering", ""
        elif current:
            self.end(job, "succeeded")
        self.free(slot, job, attempt)
        self.follow()

    @precondition(lambda self: self.messages)
    @rule(at=which)
    def fail(self, at: int) -> None:
        job, attempt, slot, _ = self.message(at, "running", "delivering")
        owned = self.store.fail(job.job_id, attempt, code="x", message="x", slot=slot)
        assert owned == (job.attempt == attempt and job.state in ("running", "delivering"))
        if owned:
            self.end(job, "failed")
        self.free(slot, job, attempt)
        self.follow()

    @precondition(lambda self: self.messages)
    @rule(at=which)
    def release(self, at: int) -> None:
        job, attempt, slot, _ = self.message(at, "cancelled", "failed")
        self.store.release(job.job_id, attempt, slot=slot)
        self.free(slot, job, attempt)
        self.follow()

    @precondition(lambda self: self.messages)
    @rule(at=which)
    def lose_child(self, at: int) -> None:
        job, attempt, slot, _ = self.message(at, "queued", "running", "cancelled")
        state = self.store.lose(job.job_id, attempt)
        held = self.slots.get(job.slot or "")
        self.lose(job, attempt)
        if held and held.holds == (job.job_id, attempt):
            self.lose_companions(held)
        self.free(slot, job, attempt)
        self.follow()
        assert state == (job.state if job.job_id in self.jobs else "")
