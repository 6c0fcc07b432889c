"""What workers write about their slots and hosts, and the sweep that repairs what died."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from jobs.errors import BadSetting
from jobs.record import Job
from jobs.slots.slot import Redelivery
from jobs.store import keys
from jobs.store.layout import LAYOUT, too_new
from jobs.store.measuring import runs
from jobs.store.scripts import Scripts

#: How long a slot with a lapsed lease is watched before it is given up, in heartbeats: a worker that was only stopped
#: for a moment renews within one.
WATCH_HEARTBEATS = 1.25
#: How many idle slots look for a job in one call, so that it does not hold Redis for long.
SLOTS_PER_CALL = 10


@dataclass(frozen=True)
class Heartbeat:
    """The answer to a worker that renews the lease of its slot."""

    #: False: the slot was given up or taken; register again.
    held: bool
    #: The slot's job, which it may have got just now; '' for none.
    job_id: str = ""
    attempt: int = 0
    #: Seconds since the slot's job was ended from outside or exceeded its run limit; None while it may run.
    overdue_s: float | None = None
    #: Whether the slot gives up the memory of its device.
    yields: bool = False


class Pulled(NamedTuple):
    """The answer to a worker over HTTP that asks for a job."""

    #: '' when all its slots are taken.
    slot: str
    #: The job that the slot got at once; '' for none.
    job_id: str
    attempt: int
    #: The job, if it was started as well.
    job: Job | None = None


@dataclass(frozen=True)
class Sweep:
    """The outcome of a sweep."""

    redeliveries: list[Redelivery]
    lost_slots: list[str]
    #: Jobs whose runs were interrupted for others.
    preempted: list[str]


@dataclass(frozen=True)
class SlotHeld:
    """Another worker holds the slot."""

    owner: str
    lapses_in_s: float


class SlotStore(Scripts):
    """The side of slots and hosts; part of :class:`jobs.store.jobs.JobStore`."""

    #: Whether this process has seen to it that the data are those of this version.
    _is_current = False

    def register(
        self, slot: str, owner: str, facts: Mapping[str, Any], *, takeover: bool = False
    ) -> SlotHeld | None:
        """Take a slot, unless another worker holds it.

        ``facts`` need ``models`` (JSON list). ``takeover``: the old owner is known to be dead.
        """
        reply = self.script("register_slot", slot=slot, owner=owner, takeover=int(takeover), facts=facts)
        if reply[0] == "held":
            return SlotHeld(reply[1], reply[2] / 1000)
        return None

    def pull(
        self, base: str, owner: str, facts: Mapping[str, Any], *, most: int, first: int = 0, device: str = "",
        run: str = "",
    ) -> Pulled:  # fmt: skip
        """A worker over HTTP asks for a job: open one of its slots.

        The slot takes part in the queue until it has a job or is closed by a :meth:`heartbeat` with the fact ``open``
        empty. A job that it gets meanwhile is announced by the job's event.

        Args:
            base: the worker's name and its first slot.
            owner: the process that holds the slot.
            facts: of the slot.
            most: how many slots the worker may have.
            first: number of the first slot that may be free, which saves looking at those before it.
            device, run: as in :meth:`~jobs.store.runs.RunStore.start`; with ``run``, a job that the slot gets at once
                is also started.
        """
        slot, job_id, attempt, record = self.script(
            "pull_job", base=base, owner=owner, max_slots=most, first=first, device=device, run=run, facts=facts
        )
        job = Job.from_hash(job_id, json.loads(record)) if record else None
        if job is not None:
            runs.started(self.measures, job)
        return Pulled(str(slot), str(job_id), int(attempt), job)

    def heartbeat(self, slot: str, owner: str, facts: Mapping[str, Any]) -> Heartbeat:
        """Renew the lease."""
        reply = self.script("heartbeat", slot=slot, owner=owner, facts=facts)
        if reply[0] == "gone":
            return Heartbeat(held=False)
        _, job_id, attempt, overdue_ms, yields = reply
        overdue_s = None if overdue_ms < 0 else overdue_ms / 1000
        return Heartbeat(True, job_id, attempt, overdue_s, bool(yields))

    def set_facts(self, slot: str, owner: str, facts: Mapping[str, Any]) -> None:
        """Write facts of a slot; its lease and job stay. Does nothing unless ``owner`` holds the slot."""
        self.script("set_slot_facts", slot=slot, owner=owner, facts=facts)

    def drain(self, slot: str, owner: str) -> tuple[str, bool]:
        """Take no new job, and interrupt the run if it can go on later.

        Returns:
            The job that still runs, '' for none, and whether its run is to give the slot back after its present step.
        """
        job_id, interrupted = self.script("drain_slot", slot=slot, owner=owner)
        return str(job_id), bool(interrupted)

    def leave(self, slot: str, owner: str) -> str | None:
        """Give the slot up; its job goes back to the queue without counting as a lost run. Return the job."""
        return self.script("leave_slot", slot=slot, owner=owner) or None

    def announce_node(self) -> None:
        """Announce that this host has a delivery worker."""
        self.script("announce_node", node=self.settings.node)

    def withdraw_node(self) -> None:
        """Withdraw the announcement: this host's delivery worker stops."""
        self.call(lambda client: client.zrem(keys.NODES, self.settings.node))

    def mark_watched(self) -> None:
        """Remember for four heartbeats that somebody listens to Celery's events."""
        lasts_ms = int(4 * self.settings.leases.heartbeat_s * 1000)
        self.call(lambda client: client.set(keys.WATCHED, 1, px=lasts_ms))

    def is_watched(self) -> bool:
        """Whether somebody listens to Celery's events."""
        return bool(self.call(lambda client: client.exists(keys.WATCHED)))

    def sweep(self, *, after_outage: bool = False) -> Sweep | None:
        """Repair what died; None when another process swept within the last heartbeat.

        Each call of the script does a part of it; a sweep that takes longer than a heartbeat goes on in the next one.

        Args:
            after_outage: whether Redis did not answer this process, or refused its writes, since its last sweep. No
                lease could be renewed then, so all begin anew.

        Raises:
            BadSetting: a newer version of Framemill wrote the data.
        """
        if not self._is_current:
            self._adopt_queue()
        beat_ms = int(self.settings.leases.heartbeat_s * 1000)
        sweep, goes_on, until = Sweep([], [], []), False, time.monotonic() + beat_ms / 1000
        while True:
            part = self.script(
                "sweep", beat_ms=beat_ms, watch_ms=int(WATCH_HEARTBEATS * beat_ms), after_outage=int(after_outage),
                goes_on=int(goes_on),
            )  # fmt: skip
            if part is None:
                return None
            redeliveries, lost, preempted, is_more = part
            sweep.redeliveries.extend(Redelivery(job_id, int(attempt), node) for job_id, attempt, node in redeliveries)
            sweep.lost_slots.extend(lost)
            sweep.preempted.extend(preempted)
            if not is_more or time.monotonic() > until:
                return sweep
            goes_on, after_outage = True, False

    def _adopt_queue(self) -> None:
        """Bring older data up to date. Raises: BadSetting: a newer version wrote them."""
        newer = self.script("adopt_queue", layout=LAYOUT)
        if newer:
            raise BadSetting(too_new(newer))
        self._is_current = True

    def fill_slots(self) -> None:
        """Let the idle slots take jobs for which jobs may wait since the queue was resumed or a limit was raised."""
        while self.script("fill_slots", limit=SLOTS_PER_CALL):
            pass
