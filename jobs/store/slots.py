"""What is written about slots, by the workers that hold them, and about all that died: each call one atomic script."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobs.slots.slot import Binding, Redelivery, bindings_of
from jobs.store import keys
from jobs.store.scripts import Scripts, flat

#: How long a lapsed slot is watched before it is given up: after an outage of Redis, living workers renew within one
#: heartbeat.
WATCH_HEARTBEATS = 1.25


@dataclass(frozen=True)
class Heartbeat:
    """What a slot's worker learns when it renews its lease."""

    #: False: the slot was given up or taken; register again.
    held: bool
    job_id: str = ""
    attempt: int = 0
    #: Seconds since the slot's job was ended from outside; None while it may run.
    overdue_s: float | None = None
    bindings: tuple[Binding, ...] = ()


@dataclass(frozen=True)
class Sweep:
    """What a sweep found to be done."""

    bindings: list[Binding]
    redeliveries: list[Redelivery]
    lost_slots: list[str]
    #: Jobs that ended by it, with the state they are in.
    ended: list[tuple[str, str]]


@dataclass(frozen=True)
class SlotHeld:
    """Another worker holds the slot."""

    owner: str
    lapses_in_s: float


class SlotCalls(Scripts):
    """The side of slots and hosts; part of :class:`jobs.store.jobs.JobStore`."""

    def register(
        self, slot: str, owner: str, facts: Mapping[str, Any], *, takeover: bool = False
    ) -> list[Binding] | SlotHeld:
        """Take a slot; its facts need ``models`` (JSON list). ``takeover``: the old owner is known to be dead."""
        reply = self.script("register", slot, owner, int(takeover), *flat(facts))
        if reply[0] == "held":
            return SlotHeld(reply[1], reply[2] / 1000)
        return bindings_of(reply[1])

    def pull(self, base: str, owner: str, facts: Mapping[str, Any], *, most: int, batch: int) -> tuple[str, str, int]:
        """A worker over HTTP asks for a job with one of its (at most ``most``) slots; it would take ``batch`` at once.

        ``base`` names the first slot. The slot takes part in the queue until it has a job or is closed: by a
        :meth:`heartbeat` with the fact ``open`` empty. What it is given meanwhile is an event of the job.

        Returns:
            The slot ('': all of them are taken), the job it has at once or '', and the attempt.
        """
        slot, job_id, attempt = self.script("pull", base, owner, most, batch, *flat(facts))
        return str(slot), str(job_id), int(attempt)

    def heartbeat(self, slot: str, owner: str, facts: Mapping[str, Any]) -> Heartbeat:
        """Renew the lease."""
        reply = self.script("heartbeat", slot, owner, *flat(facts))
        if reply[0] == "gone":
            return Heartbeat(held=False)
        _, job_id, attempt, overdue_ms, bindings = reply
        overdue_s = None if overdue_ms < 0 else overdue_ms / 1000
        return Heartbeat(True, job_id, attempt, overdue_s, tuple(bindings_of(bindings)))

    def note(self, slot: str, owner: str, facts: Mapping[str, Any]) -> None:
        """What a slot's process holds and is; changes neither lease nor job. Nothing if the slot is not the owner's."""
        self.script("note", slot, owner, *flat(facts))

    def drain(self, slot: str, owner: str) -> str | None:
        """Take no new job. Returns the one that still runs."""
        return self.script("leave", slot, owner, "drain")[0] or None

    def leave(self, slot: str, owner: str) -> tuple[str | None, list[Binding]]:
        """Give the slot up; its job goes back to the queue without counting as a lost run."""
        job_id, bindings = self.script("leave", slot, owner, "off")
        return job_id or None, bindings_of(bindings)

    def announce_node(self) -> None:
        """Say that this host has a delivery worker."""
        until = time.time() + self.settings.slot_lease_s
        self.call(lambda client: client.zadd(keys.NODES, {self.settings.node: until}))

    def note_watchers(self) -> None:
        """Somebody listens to Celery's events."""
        lasts_ms = int(4 * self.settings.heartbeat_s * 1000)
        self.call(lambda client: client.set(keys.WATCHED, 1, px=lasts_ms))

    def is_watched(self) -> bool:
        """Whether somebody listens to Celery's events."""
        return bool(self.call(lambda client: client.exists(keys.WATCHED)))

    def forget_node(self) -> None:
        """This host's delivery worker stops."""
        self.call(lambda client: client.zrem(keys.NODES, self.settings.node))

    def sweep(self, owner: str) -> Sweep | None:
        """Heal what died; None when another process swept within the last heartbeat."""
        beat_ms = int(self.settings.heartbeat_s * 1000)
        if not self.call(lambda client: client.set(keys.SWEEP_LOCK, owner, nx=True, px=beat_ms)):
            return None
        bindings, redeliveries, lost, ended = self.script("sweep", int(WATCH_HEARTBEATS * beat_ms))
        return Sweep(
            bindings_of(bindings),
            [Redelivery(job_id, int(attempt), node) for job_id, attempt, node in redeliveries],
            lost,
            [(job_id, state) for job_id, state in ended],
        )
