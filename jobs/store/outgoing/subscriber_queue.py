"""Subscriber queues: messages about jobs for services that receive them over a socket.

The scripts that change a job append the message about it to the queue that the job names, in order and once
(``jobs/store/lua/include/subscriber_queue.lua``). A queue belongs to one socket at a time and outlives it: what comes
while no socket is open is sent to the next one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.store import keys
from jobs.store.lua.words import Notice
from jobs.store.scripts import Scripts

#: A web process that has not renewed its lease for this long is dead, and others take its queues over, in seconds.
LEASE_S = 4.0
#: Lease renewal interval, in seconds.
RENEW_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Message:
    """One message about a job."""

    #: Id in the stream, ordered like the messages of all queues.
    message_id: str
    job_id: str
    notice: Notice
    #: Correlation data of every message about the job.
    correlation: dict[str, Any]


@dataclass(frozen=True)
class MessageDetails:
    """The values of a job's record that its messages need."""

    #: The time to its end that was expected when it was accepted, in seconds; None: unknown.
    quoted_s: float | None
    #: Correlation data of the last message; empty when the record is gone.
    final_correlation: dict[str, Any]
    #: ``code`` and ``message`` of a failure.
    error: dict[str, str] | None
    #: Empty when the record is gone.
    state: str
    has_outputs: bool


class SubscriberQueues:
    """The queues of one service, as one web process uses them. Every method raises Unavailable without Redis."""

    def __init__(self, store: Scripts, service: str, owner: str) -> None:
        self._store, self._service, self._owner = store, service, owner

    def acquire(self) -> list[str]:
        """Return the queues of a new socket: those that closed sockets left, or a new one."""
        return self._join(take_left=1, create=1)

    def renew(self) -> list[str]:
        """Renew the lease of this process; return the queues it takes over from dead processes."""
        return self._join(take_left=0, create=0)

    def _join(self, *, take_left: int, create: int) -> list[str]:
        queues = self._store.script(
            "join_subscriber_queues", key=self._service, owner=self._owner, lease_ms=int(LEASE_S * 1000),
            take_left=take_left, create=create,
        )  # fmt: skip
        return list(queues)

    def release(self, queues: Sequence[str]) -> None:
        """Leave the queues of a closed socket to the next one."""
        if queues:
            unowned = dict.fromkeys(queues, "")
            self._store.call(lambda c: c.hset(keys.SUBSCRIBER_QUEUES + self._service, mapping=unowned))

    def read(self, queue: str, limit: int = 50) -> list[Message]:
        """Return the oldest messages of a queue; they stay in it until :meth:`acknowledge`.

        Empty when another process has taken the queue over.
        """
        if self._store.call(lambda c: c.hget(keys.SUBSCRIBER_QUEUES + self._service, queue)) != self._owner:
            return []
        entries = self._store.call(lambda c: c.xrange(self._name(queue), count=limit))
        return [
            Message(message_id, entry["id"], Notice(entry["word"]), json.loads(entry["ticket"]))
            for message_id, entry in entries
        ]

    def acknowledge(self, queue: str, message: Message) -> None:
        """Remove a message that was sent."""
        self._store.call(lambda c: c.xdel(self._name(queue), message.message_id))

    def details(self, job_id: str) -> MessageDetails:
        """Return the values of a job's record that its messages need."""
        names = ("quoted_s", "echo", "error", "state", "outputs")
        quoted, echo, error, state, outputs = self._store.call(lambda c: c.hmget(keys.JOB + job_id, names))
        return MessageDetails(
            float(quoted) if quoted else None, json.loads(echo or "{}"), json.loads(error) if error else None,
            state or "", bool(outputs),
        )  # fmt: skip

    def _name(self, queue: str) -> str:
        return f"{keys.SUBSCRIBER_QUEUE}{self._service}:{queue}"
