"""Calls of clients that wait for several jobs on one connection, kept so that a repeat is given the same jobs.

A call is opened with the ids of its jobs, before these are submitted: whoever takes it over submits them again, and
what was accepted already stays as it is. It is held by the connection that waits; the holder renews its claim after
each look at that connection. A newcomer with an equal body asks the holders of all such calls to look once more, and
takes the call of one whose connection is gone, or who is gone himself.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.store import keys
from jobs.store.jobs import JobStore

#: A claim that was not renewed for so long has lapsed, seconds.
CLAIM_S = 2.5
#: … while its request is being prepared, or its answer sent: nobody looks at the connection then.
LONG_CLAIM_S = 10.0


@dataclass(frozen=True)
class Call:
    """One call."""

    key_id: str
    call_id: str
    #: Its jobs, in the order of their images.
    jobs: tuple[str, ...]
    seed: int
    #: Who holds it; '' for one that is only looked at.
    holder: str = ""
    #: Whether it was there before.
    is_repeat: bool = False


@dataclass(frozen=True)
class Opening:
    """What a newcomer learns: its call, or whom to wait for, or neither (the id is another request's)."""

    call: Call | None = None
    #: Call → what its holder must have answered by then.
    tickets: Mapping[str, int] = field(default_factory=dict)


class Calls:
    """The calls of one API key. Every method raises Unavailable when Redis does not answer."""

    def __init__(self, store: JobStore, key_id: str) -> None:
        self._store, self.key_id = store, key_id

    def open(
        self, wanted: Call, digest: str, *, forced: bool, tickets: Mapping[str, int] | None = None
    ) -> Opening:  # fmt: skip
        """Open this call, or find the one it repeats.

        Args:
            wanted: the call if it is a new one, with its holder.
            digest: of the body; equal ones may be repeats.
            forced: its id was chosen by the client, and decides alone.
            tickets: of the last try.
        """
        word, *answer = self._store.script(
            "held_request_open", key=self.key_id, digest=digest, id=wanted.call_id, forced=int(forced),
            jobs=json.dumps(wanted.jobs), seed=wanted.seed, holder=wanted.holder, claim_ms=int(LONG_CLAIM_S * 1000),
            kept_ms=int(self._store.settings.idempotency_ttl_s * 1000), tickets=tickets or {},
        )  # fmt: skip
        if word == "new":
            return Opening(wanted)
        if word == "repeat":
            call_id, jobs, seed = answer
            return Opening(Call(self.key_id, call_id, tuple(json.loads(jobs)), int(seed), wanted.holder, True))
        if word == "wait":
            return Opening(tickets=dict(zip(answer[0][::2], map(int, answer[0][1::2]), strict=True)))
        return Opening()

    def renew(self, call: Call, answered: int, claim_s: float = CLAIM_S) -> int:
        """Say that the connection stands, as an answer to questions up to ``answered``; the newest question."""
        newest = self._store.script(
            "held_request_renew", key=self.key_id, id=call.call_id, holder=call.holder, claim_ms=int(claim_s * 1000),
            answered=answered,
        )  # fmt: skip
        return int(newest)

    def leave(self, call: Call) -> None:
        """The connection is gone: the next equal body gets this call."""
        self._end(call, "leave")

    def deliver(self, call: Call) -> None:
        """The answer was sent: an equal body is new work, unless the client chose the id."""
        self._end(call, "deliver")

    def drop(self, call: Call) -> None:
        """Nothing came of it."""
        self._end(call, "drop")

    def interrupt(self, call: Call, job_id: str, picture: str, media_type: str) -> None:
        """Keep what there is of a job that is about to be stopped; a repeat of the call is new work from now on."""
        self._store.script(
            "held_request_interrupt", key=self.key_id, id=call.call_id, job=job_id, picture=f"{media_type} {picture}"
        )

    def pictures(self, call: Call) -> dict[str, str]:
        """What was kept of stopped jobs: id → base64; '' where there was nothing."""
        found = self._store.call(lambda client: client.hgetall(self._name(call.call_id)))
        stopped = {name[8:]: value for name, value in found.items() if name.startswith("stopped:")}
        return {job_id: value.partition(" ")[2] for job_id, value in stopped.items()}

    def find(self, call_id: str) -> Call | None:
        """The call of this id, or None."""
        values = self._store.call(lambda client: client.hmget(self._name(call_id), "jobs", "seed"))
        if not values[0]:
            return None
        return Call(self.key_id, call_id, tuple(json.loads(values[0])), int(values[1]), is_repeat=True)

    def all(self) -> list[Call]:
        """The calls that were not delivered, oldest first."""
        ids = self._store.call(lambda client: client.zrange(keys.CALLS + self.key_id, 0, -1))
        found = {call_id: self.find(call_id) for call_id in ids}
        if gone := [call_id for call_id, call in found.items() if call is None]:
            self._store.call(lambda client: client.zrem(keys.CALLS + self.key_id, *gone))
        return [call for call in found.values() if call is not None]

    def forget(self, call: Call) -> None:
        """Take a call whose jobs are over out of the list."""
        self._store.call(lambda client: client.zrem(keys.CALLS + self.key_id, call.call_id))

    def _end(self, call: Call, how: str) -> None:
        self._store.script("held_request_end", key=self.key_id, id=call.call_id, holder=call.holder, how=how)

    def _name(self, call_id: str) -> str:
        return f"{keys.CALL}{self.key_id}:{call_id}"


def new_holder() -> str:
    """A name for a connection that holds a call."""
    return secrets.token_hex(8)
