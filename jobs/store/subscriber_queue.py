"""Mail: messages about jobs for services that work through sockets.

The scripts that change a job write what its socket is to be told into the socket's mailbox
(``jobs/store/lua/include/subscriber_queue.lua``), in
order and once. A mailbox outlives its socket: who is away gets the messages later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobs.store import keys

if TYPE_CHECKING:
    from jobs.store.jobs import JobStore

#: A web process that was not heard of for so long has died, and its mailboxes are taken by others, seconds.
LEASE_S = 4.0
#: It is heard of this often, seconds.
BEAT_S = 1.0


@dataclass(frozen=True)
class Mail:
    """Whom to tell of a job, and what its messages repeat."""

    mailbox: str
    #: Repeated in every message.
    ticket: Mapping[str, Any]
    #: Repeated in the last one.
    echo: Mapping[str, Any]
    #: Whether the good end is told once the output is stored; False: once it is computed.
    synced: bool = True

    def to_fields(self) -> dict[str, Any]:
        """As the record holds it."""
        fields = {"mailbox": self.mailbox, "ticket": _json(self.ticket), "echo": _json(self.echo)}
        return fields if self.synced else {**fields, "unsynced": "1"}


@dataclass(frozen=True)
class Letter:
    """One message: a job is ``queued``, ``generating``, ``ok`` or in ``error``."""

    letter_id: str
    job_id: str
    word: str
    ticket: dict[str, Any]


@dataclass(frozen=True)
class Told:
    """What a record says for its messages."""

    #: Seconds it was expected to take when it was accepted; None: unknown.
    quoted_s: float | None
    #: Empty for a record that is gone.
    echo: dict[str, Any]
    error: dict[str, str] | None
    state: str
    outputs: bool


class Mailboxes:
    """The mailboxes of one service. Every method raises Unavailable when Redis does not answer."""

    def __init__(self, store: JobStore, service: str, owner: str) -> None:
        self._store, self._service, self._owner = store, service, owner

    def join(self) -> list[str]:
        """A socket opens: the mailboxes that closed sockets left to it, or a new one."""
        return self._join(take_left=1, create=1)

    def inherit(self) -> list[str]:
        """Renew the lease of this process; mailboxes of processes that died are ours from now on."""
        return self._join(take_left=0, create=0)

    def _join(self, *, take_left: int, create: int) -> list[str]:
        mailboxes = self._store.script(
            "join_subscriber_queues", key=self._service, owner=self._owner, lease_ms=int(LEASE_S * 1000),
            take_left=take_left, create=create,
        )  # fmt: skip
        return list(mailboxes)

    def leave(self, mailboxes: list[str]) -> None:
        """The socket was closed: the next one gets what comes."""
        if mailboxes:
            left = dict.fromkeys(mailboxes, "")
            self._store.call(lambda c: c.hset(keys.MAILBOXES + self._service, mapping=left))

    def read(self, mailbox: str, limit: int = 50) -> list[Letter]:
        """The oldest letters; they stay until :meth:`done`."""
        if self._store.call(lambda c: c.hget(keys.MAILBOXES + self._service, mailbox)) != self._owner:
            return []  # we were taken for dead, and another process has it
        found = self._store.call(lambda c: c.xrange(self._name(mailbox), count=limit))
        return [Letter(name, values["id"], values["word"], json.loads(values["ticket"])) for name, values in found]

    def done(self, mailbox: str, letter: Letter) -> None:
        """It was sent."""
        self._store.call(lambda c: c.xdel(self._name(mailbox), letter.letter_id))

    def told(self, job_id: str) -> Told:
        """What the messages about a job say beside their ticket."""
        names = ("quoted_s", "echo", "error", "state", "outputs")
        values = self._store.call(lambda c: c.hmget(keys.JOB + job_id, names))
        quoted, echo, error, state, outputs = values
        return Told(
            float(quoted) if quoted else None, json.loads(echo or "{}"), json.loads(error) if error else None,
            state or "", bool(outputs),
        )  # fmt: skip

    def _name(self, mailbox: str) -> str:
        return f"{keys.MAIL}{self._service}:{mailbox}"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
