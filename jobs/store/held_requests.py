"""Held requests: requests that wait for several jobs on one connection, so that a repeat is given the same jobs.

A held request is opened with the ids of its jobs before these are submitted: whoever takes it over submits them again,
and jobs that were accepted already stay as they are. The connection that waits claims it and renews the claim after
each check that its client is still connected. A newcomer with an equal body pings the holders of all such requests,
so that each checks its connection once more, and takes over one whose client is gone or whose claim has lapsed.
"""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobs.store import keys
from jobs.store.scripts import Scripts

#: A claim lapses this long after its last renewal, in seconds.
CLAIM_S = 2.5
#: The same while the request is prepared or its answer is sent: nobody checks the connection then.
LONG_CLAIM_S = 10.0
#: Claims that one call renews at most; other calls of Redis wait meanwhile.
CLAIMS_PER_CALL = 200
#: Requests that are listed in one call.
LISTED_PER_CALL = 100


@dataclass(frozen=True)
class HeldRequest:
    """One request and its jobs."""

    key_id: str
    request_id: str
    #: Ids of its jobs, in the order of their images.
    job_ids: tuple[str, ...]
    seed: int
    #: The connection that holds it; '' for a request that is only looked up.
    holder: str = ""
    #: Whether an earlier connection opened it.
    is_repeat: bool = False
    #: Whether the caller stopped its jobs while this connection waited for an earlier one.
    was_interrupted: bool = False


@dataclass(frozen=True)
class Claim:
    """The claim of a connection on the request that it holds."""

    request: HeldRequest
    #: The number of the newest ping that a connection check has answered.
    answered: int = 0

    def answering(self, ping: int) -> Claim:
        """Return the claim when the pings up to this number are answered."""
        return replace(self, answered=ping)


@dataclass(frozen=True)
class Opening:
    """The outcome of opening a request: the request, or holders to wait for, or neither (the id is taken)."""

    request: HeldRequest | None = None
    #: Request id → the number of the ping that its holder must have answered before the next try.
    pings: Mapping[str, int] = field(default_factory=dict)


class HeldRequests:
    """The held requests of one caller. Every method raises Unavailable when Redis does not answer.

    Args:
        store: the store.
        key_id: API key of the caller, or another name of it.
        repeat_s: how long after the loss of its connection a request may be repeated, seconds; None: while it is kept.
    """

    def __init__(self, store: Scripts, key_id: str, repeat_s: float | None = None) -> None:
        self._store, self.key_id = store, key_id
        self._kept_ms = int(store.settings.scheduling.idempotency_ttl_s * 1000)
        self._repeat_ms = self._kept_ms if repeat_s is None else int(repeat_s * 1000)

    def open(
        self, request: HeldRequest, digest: str, *, forced: bool, random: bool, pings: Mapping[str, int] | None = None
    ) -> Opening:  # fmt: skip
        """Open a request, or take over the one that it repeats.

        Args:
            request: the request if it is new, with its holder.
            digest: digest of the body; equal ones may be repeats.
            forced: whether the client chose the id, which then decides alone.
            random: whether each new request gets other images: what was delivered is then not given to a repeat.
            pings: the pings of earlier tries.
        """
        outcome, *reply = self._store.script(
            "held_request_open", key=self.key_id, digest=digest, id=request.request_id, forced=int(forced),
            random=int(random), jobs=json.dumps(request.job_ids), seed=request.seed, holder=request.holder,
            claim_ms=int(LONG_CLAIM_S * 1000), kept_ms=self._kept_ms, repeat_ms=self._repeat_ms,
            tickets=pings or {},
        )  # fmt: skip
        if outcome == "new":
            return Opening(request)
        if outcome == "repeat":
            request_id, job_ids, seed, interrupted = reply
            known = HeldRequest(self.key_id, request_id, tuple(json.loads(job_ids)), int(seed), request.holder)
            return Opening(replace(known, is_repeat=True, was_interrupted=bool(interrupted)))
        if outcome == "wait":
            return Opening(pings=dict(zip(reply[0][::2], map(int, reply[0][1::2]), strict=True)))
        return Opening()

    def renew(self, claim: Claim, claim_s: float) -> None:
        """Renew the claim of a request."""
        renew_claims(self._store, [claim], claim_s)

    def release(self, request: HeldRequest) -> None:
        """Give up the claim of a lost connection: the next equal body takes the request over."""
        self._end(request, "leave")

    def mark_delivered(self, request: HeldRequest) -> None:
        """Record that the answer was sent: an equal body is a new request, unless the client chose id and seed."""
        self._end(request, "deliver")

    def discard(self, request: HeldRequest) -> bool:
        """Forget a request that came to nothing. Return whether this connection still held it."""
        return self._end(request, "drop")

    def interrupt(self, request: HeldRequest, job_id: str, picture: str, media_type: str) -> None:
        """Keep the last picture (base64) of a job that is about to be stopped; an equal body is then a new request.

        A connection that waited for the holder of this one before takes it over if the holder is gone.
        """
        self._store.script(
            "held_request_interrupt", key=self.key_id, id=request.request_id, job=job_id,
            picture=f"{media_type} {picture}",
        )  # fmt: skip

    def pictures(self, request: HeldRequest) -> dict[str, str]:
        """Return the kept pictures of stopped jobs: job id → base64; '' for a job that had none."""
        values = self._store.call(lambda client: client.hgetall(self._name(request.request_id)))
        stopped = {name[8:]: value for name, value in values.items() if name.startswith("stopped:")}
        return {job_id: value.partition(" ")[2] for job_id, value in stopped.items()}

    def find(self, request_id: str) -> HeldRequest | None:
        """Return the request with this id, or None."""
        job_ids, seed = self._store.call(lambda client: client.hmget(self._name(request_id), "jobs", "seed"))
        if not job_ids:
            return None
        return HeldRequest(self.key_id, request_id, tuple(json.loads(job_ids)), int(seed), is_repeat=True)

    def all(self) -> list[HeldRequest]:
        """Return the requests that were not delivered, oldest first."""
        return [
            HeldRequest(self.key_id, request_id, tuple(json.loads(job_ids)), int(seed), is_repeat=True)
            for request_id, job_ids, seed, _ in self._listed({"gone"})
        ]

    def waiting(self) -> list[str]:
        """Return the ids of those requests of which no job has started yet, oldest first."""
        return [request_id for request_id, _, _, stage in self._listed({"gone", "over"}) if stage == "waiting"]

    def _listed(self, unlisted: Collection[str]) -> list[list[str]]:
        """Return id, jobs (JSON), seed and stage of the requests that were not delivered, oldest first.

        Args:
            unlisted: stages of requests that are left out, and taken out of the list.
        """
        rows: list[list[str]] = []
        for first in itertools.count(0, LISTED_PER_CALL):
            last = first + LISTED_PER_CALL - 1
            part = self._store.script("held_request_list", key=self.key_id, first=first, last=last)
            rows += part
            if len(part) < LISTED_PER_CALL:
                break
        if ended := [row[0] for row in rows if row[3] in unlisted]:
            self._unlist(ended)
        return [row for row in rows if row[3] not in unlisted]

    def unlist(self, request: HeldRequest) -> None:
        """Take a request whose jobs are over out of :meth:`all`."""
        self._unlist([request.request_id])

    def _unlist(self, request_ids: Sequence[str]) -> None:
        self._store.call(lambda client: client.zrem(keys.HELD_REQUESTS + self.key_id, *request_ids))

    def _end(self, request: HeldRequest, how: str) -> bool:
        held = self._store.script(
            "held_request_end", key=self.key_id, id=request.request_id, holder=request.holder, how=how
        )
        return bool(held)

    def _name(self, request_id: str) -> str:
        return f"{keys.HELD_REQUEST}{self.key_id}:{request_id}"


def renew_claims(store: Scripts, claims: Sequence[Claim], claim_s: float = CLAIM_S) -> list[int]:
    """Renew claims whose connections were checked, and answer their pings.

    Returns:
        The number of the newest ping for each; -1 if another connection holds the request. Raises: Unavailable.
    """
    newest: list[int] = []
    for first in range(0, len(claims), CLAIMS_PER_CALL):
        values = [
            value
            for claim in claims[first : first + CLAIMS_PER_CALL]
            for value in (claim.request.key_id, claim.request.request_id, claim.request.holder, claim.answered)
        ]
        newest += store.script("held_request_renew", claim_ms=int(claim_s * 1000), claims=values)
    return newest


def new_holder() -> str:
    """Return a name for a connection that holds a request."""
    return secrets.token_hex(8)
