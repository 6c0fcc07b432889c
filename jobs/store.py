"""All that is written about jobs: one method, one atomic Lua call.

The scripts are in ``jobs/lua``; each checks the old state and the attempt number before it writes, so a
worker of an older attempt can change nothing. A script that binds a job to a slot also puts the message into the
slot's queue; methods that free or find a slot return these bindings. Reading for display is in
:mod:`jobs.queries`.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from jobs import keys
from jobs.errors import (
    Conflict,
    DuplicateJob,
    FramemillError,
    IdempotencyMismatch,
    JobNotFound,
    QueueFull,
    ServiceBusy,
    Unavailable,
)
from jobs.files import FileIndex
from jobs.forecast import Forecast
from jobs.record import Job, Output
from jobs.settings import Settings
from jobs.slots import Binding, Redelivery
from jobs.submission import Accepted, Submission

LUA_DIR = Path(__file__).parent / "lua"

#: How long a lapsed slot is watched before it is given up: after an outage of Redis, living workers renew within one
#: heartbeat.
WATCH_HEARTBEATS = 1.25
#: A preview goes this long after the last one of its job, if the job has not ended before, seconds: a step of a large
#: video and its decoding may take minutes.
PREVIEW_TTL_S = 300
#: Messages that wait for a socket; older ones are dropped.
MAILBOX_LENGTH = 10_000
#: Put before every script, in this order.
_SHARED = ("lib", "hooks", "mail", "queue", "files", "life", "forecast_lib", "room_lib")

T = TypeVar("T")


@cache
def _source(name: str) -> str:
    return (LUA_DIR / f"{name}.lua").read_text(encoding="utf-8")


def connect(settings: Settings, *, timeout_s: float | None = None) -> redis.Redis:
    """A client with a pool; every call ends within ``timeout_s`` (default ``REDIS_TIMEOUT_S``).

    One retry without a pause: it covers a connection that died while it lay in the pool, no more. The
    scripts answer a repeat as they answered the first call.
    """
    timeout_s = timeout_s or settings.redis_timeout_s
    options: dict[str, Any] = {} if settings.store_url.startswith("unix://") else {"socket_connect_timeout": timeout_s}
    return redis.Redis.from_url(
        settings.store_url,
        decode_responses=True,
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        **options,
    )


class Answer(IntEnum):
    """What a run is told when it reports a step."""

    STOP = 0
    GO_ON = 1
    #: Go on; somebody asks for previews at the moment.
    SHOW = 2


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
class Room:
    """What a service (all slots, or one) works on at one moment."""

    #: Number of further jobs that would start at once; less than 1: busy.
    more: int
    #: Jobs that have a slot or are being delivered.
    active: list[str]
    #: Number of jobs that wait for a slot.
    waiting: int


@dataclass(frozen=True)
class SlotHeld:
    """Another worker holds the slot."""

    owner: str
    lapses_in_s: float


class JobStore(FileIndex):
    """The records, on Redis. Safe to share between threads and greenlets; make a new one after a fork.

    ``message`` is what a slot's worker is sent (:mod:`tasks.message`); without one nothing is sent.
    Every method raises :class:`~jobs.errors.Unavailable` when Redis does not answer in time.
    """

    def __init__(self, settings: Settings, client: redis.Redis | None = None, *, message: str = "") -> None:
        self.settings = settings
        self.client = client or connect(settings)
        limits = {
            "result_ttl_ms": settings.result_ttl_s * 1000,
            "max_attempts": settings.max_attempts,
            "lease_ms": settings.slot_lease_s * 1000,
            "resend_after_ms": settings.resend_after_s * 1000,
            "delivery_lease_ms": settings.delivery_lease_s * 1000,
            "node_grace_ms": settings.node_grace_s * 1000,
            "affinity_ms": settings.affinity_s * 1000,
            "affinity_places": settings.affinity_places,
            "idempotency_ttl_ms": settings.idempotency_ttl_s * 1000,
            "event_log_length": settings.event_log_length,
            "mailbox_length": MAILBOX_LENGTH,
            "preview_ttl_ms": PREVIEW_TTL_S * 1000,
            "files_grace_ms": settings.unused_files_grace_s * 1000,
        }
        table = ", ".join(f"{name} = {value:.0f}" for name, value in limits.items())
        weights = ", ".join(f"{name} = {weight:g}" for name, weight in settings.class_weights.items())
        kept = ", ".join(f"{name} = {length_s * 1000:.0f}" for name, length_s in settings.retention_s.items())
        head = keys.lua_table() + f"local CFG = {{{table}, weights = {{{weights}}}, retention_ms = {{{kept}}}}}\n"
        head += f"local MESSAGE = [==[{message}]==]\n"
        head += "".join(_source(name) for name in _SHARED)
        self._scripts: dict[str, Any] = {
            path.stem: self.client.register_script(head + _source(path.stem))
            for path in LUA_DIR.glob("*.lua")
            if path.stem not in _SHARED
        }

    def call(self, reader: Callable[[Any], T]) -> T:
        """Run ``reader`` with the client, Redis' errors turned into ours."""
        try:
            return reader(self.client)
        except (redis.ConnectionError, redis.TimeoutError) as exc:
            raise Unavailable("the job store does not answer") from exc

    def _run(self, script: str, *args: Any) -> Any:
        return self.call(lambda _client: self._scripts[script](args=args))

    def script(self, name: str, *args: Any) -> Any:
        """What a script of ``jobs/lua`` answers."""
        return self._run(name, *args)

    def read(self, job_id: str) -> dict[str, str]:
        """The raw record. Raises: JobNotFound."""
        values = self.call(lambda client: cast("dict[str, str]", client.hgetall(keys.JOB + job_id)))
        if not values:
            raise JobNotFound(f"there is no job {job_id[:64]!r}")
        return values

    def get(self, job_id: str) -> Job:
        """Raises: JobNotFound."""
        return Job.from_hash(job_id, self.read(job_id))

    # ---- the caller's side

    def submit(self, job_id: str, submission: Submission) -> Accepted:
        """Accept a job: from here on it is never lost.

        Raises:
            DuplicateJob: the id is taken.
            IdempotencyMismatch: the idempotency key was used for another request.
            QueueFull: too many jobs wait, in all or of this key, or the key submits too fast.
            ServiceBusy: it would have to wait, and must not.
            Unavailable: an input was removed before the job came; with the input sent again it is accepted.
        """
        caller, request = submission.caller, submission.request
        fields = {
            "key": caller.key_id,
            "class": submission.job_class or caller.job_class,
            "model": request.model,
            "work": request.work,
            "request": json.dumps(request.to_dict(), separators=(",", ":"), ensure_ascii=False),
            "steps": request.total_steps,
            "protocol": submission.protocol,
            "retention": submission.retention or caller.retention or self.settings.retention,
        }
        fields["lane"] = (
            keys.PIN + submission.pin if submission.pin else f"{fields['class']}|{caller.key_id}|{request.model}"
        )
        if submission.pin:
            fields["pin"] = submission.pin
        if submission.priority:
            fields["priority"] = submission.priority
        if submission.max_run_s:
            fields["max_run_ms"] = int(submission.max_run_s * 1000)
        if submission.preview:
            fields["preview"] = 1
        if submission.model_max_waiting is not None:
            fields["model_max_waiting"] = submission.model_max_waiting
        if submission.max_silence_s:
            fields["max_silence_ms"] = int(submission.max_silence_s * 1000)
        if submission.retry_of:
            fields["retry_of"] = submission.retry_of
        if submission.command:
            fields["command"] = submission.command
        if submission.path:
            fields["path"] = submission.path
        if request.inputs:
            fields["inputs"] = " ".join(request.inputs)
        if submission.webhook is not None:
            fields["webhook"] = submission.webhook.to_json() if submission.webhook else ""
        if not submission.moderate:
            fields["unmoderated"] = 1
        if submission.alias:
            fields["alias"] = submission.alias
        if submission.mail:
            fields |= submission.mail.to_fields()
        if submission.warnings:
            fields["warnings"] = json.dumps(submission.warnings)
        status, *answer = self._run(
            "submit", job_id, self.settings.max_waiting, caller.max_waiting, caller.max_per_minute,
            submission.idempotency_key, submission.fingerprint, int(submission.start_within_s * 1000),
            int(submission.only_if_idle), submission.pin or "", *_flat(fields),
        )  # fmt: skip
        if status == "repeat":
            return Accepted(answer[0], repeated=True)
        if status != "ok":
            raise _refusal(status, answer, job_id, self.settings)
        bindings, created_at, expected, path = answer
        return Accepted(job_id, _bindings(bindings), int(created_at), Forecast.from_reply(expected), path=path)

    def forecast(self, *job_ids: str) -> list[Forecast]:
        """Where jobs stand; the cost of one does not depend on how many wait."""
        return [Forecast.from_reply(reply) for reply in self._run("forecast", *job_ids)] if job_ids else []

    def room(self, slot: str = "", model: str = "") -> Room:
        """What a service works on, and whether it has room for a job more.

        Args:
            slot: its only slot; '' for all.
            model: what the next job needs; '' for any.
        """
        return Room(*self._run("room", slot, model))

    def cancel(self, job_id: str) -> tuple[bool, str | None, list[Binding]]:
        """End a job from outside, whatever it does.

        Returns:
            Whether anything changed (False: it was over already), the slot whose worker must be told to stop
            (None if no worker runs it), and new bindings.

        Raises:
            JobNotFound: unknown id.
        """
        outcome, slot, bindings = self._run("cancel", job_id)
        if outcome == "unknown":
            raise JobNotFound(f"there is no job {job_id[:64]!r}")
        return outcome == "changed", slot or None, _bindings(bindings)

    def purge(self, job_id: str) -> str:
        """Delete a job that is over: its record at once (or when its worker has stopped), its files soon after.

        Returns:
            ``deleted``, ``held`` (as soon as its worker has stopped), ``live`` (it is not over) or ``gone`` (it was
            deleted before).

        Raises:
            JobNotFound: unknown id.
        """
        outcome = str(self._run("purge", job_id))
        if outcome == "unknown":
            raise JobNotFound(f"there is no job {job_id[:64]!r}")
        return outcome

    def deleted_key(self, job_id: str) -> str | None:
        """The API key of a job that was deleted; None for any other id."""
        return self.call(lambda client: cast("str | None", client.get(keys.DELETED + job_id)))

    def move_to_front(self, job_id: str) -> list[Binding]:
        """Let a waiting job go before all others.

        Raises:
            JobNotFound: unknown id.
            Conflict: it does not wait.
        """
        outcome, bindings = self._run("front", job_id)
        if outcome == "unknown":
            raise JobNotFound(f"there is no job {job_id[:64]!r}")
        if outcome != "moved":
            raise Conflict(
                f"the job is {outcome} and has a slot already" if outcome == "queued" else f"the job is {outcome}"
            )
        return _bindings(bindings)

    def bury(self, job_id: str) -> None:
        """Take a job off the dead-letter list."""
        self.call(lambda client: client.zrem(keys.DEAD, job_id))

    def pause(self, slot: str = keys.ALL, *, resume: bool = False) -> list[Binding]:
        """Give a slot (or all) no more jobs, or again."""
        return _bindings(self._run("pause", slot, 0 if resume else 1))

    # ---- the run

    def start(
        self, job_id: str, attempt: int, *, slot: str, owner: str, device: str, run: str,
        facts: Mapping[str, Any] | None = None,
    ) -> Job | None:  # fmt: skip
        """queued → running. None: this attempt may not run (cancelled, re-bound, delivered twice).

        ``run`` is unique to this execution: a repeat of the same call gets the job again. ``facts`` are as in
        :meth:`note`: a slot that was given up and taken again learns so what its process holds.
        """
        record = self._run("start", job_id, attempt, slot, owner, device, run, *_flat(facts or {}))
        return Job.from_hash(job_id, dict(zip(record[::2], record[1::2], strict=True))) if record else None

    def progress(
        self, job_id: str, attempt: int, stage: str, step: int, steps: int, eta_s: float | None,
        stage_percent: int | None = None,
    ) -> Answer:  # fmt: skip
        """Note a step. ``STOP``: the attempt is over."""
        eta = "" if eta_s is None else f"{eta_s:.2f}"
        percent = "" if stage_percent is None else stage_percent
        return Answer(self._run("progress", job_id, attempt, stage, step, steps, eta, percent))

    def preview(self, job_id: str, attempt: int, step: int, content: bytes, media_type: str) -> bool:
        """Show a picture of a run after ``step`` steps, instead of the one before. False: the attempt is over."""
        return bool(self._run("preview", job_id, attempt, step, media_type, base64.b64encode(content)))

    def compute(
        self, job_id: str, attempt: int, *, slot: str, node: str, run_s: float, blocked: str = "",
        report: Mapping[str, Any] | None = None,
    ) -> tuple[bool, list[Binding]]:  # fmt: skip
        """running → delivering: the frames lie in the spool of ``node`` ('': nothing to deliver, → succeeded).

        Frees the slot in any case; it gets no new job while it is ``blocked`` (why, for people). ``report`` is what
        a command found.
        """
        found = json.dumps(report, separators=(",", ":")) if report else ""
        owned, bindings = self._run("compute", job_id, attempt, slot, node, f"{run_s:.4f}", blocked, found)
        return bool(owned), _bindings(bindings)

    def complete(
        self, job_id: str, attempt: int, *, slot: str, run_s: float, outputs: list[Output], result: Mapping[str, Any]
    ) -> bool:
        """running → succeeded, with outputs that are stored already and further results.

        Frees the slot in any case. False: the attempt is over; these outputs will be removed.
        """
        listed = json.dumps([output.to_dict() for output in outputs], separators=(",", ":"))
        text = json.dumps(result, separators=(",", ":"), ensure_ascii=False)
        return bool(self._run("compute", job_id, attempt, slot, "", f"{run_s:.4f}", "", "", listed, text)[0])

    def note_progress(self, job_id: str, data: Mapping[str, Any], lasts_s: float) -> None:
        """Keep what a worker over HTTP says about its run, for those who look; it goes with the run."""
        text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
        self.call(lambda client: client.set(keys.PROGRESS + job_id, text, px=int(lasts_s * 1000)))

    def noted_progress(self, job_id: str) -> dict[str, Any]:
        """What was noted last; empty before the first time."""
        text = self.call(lambda client: client.get(keys.PROGRESS + job_id))
        return json.loads(str(text)) if text else {}

    def release(self, job_id: str, attempt: int, *, slot: str) -> list[Binding]:
        """The slot has stopped working on an attempt that is over."""
        return _bindings(self._run("release", job_id, attempt, slot))

    def fail(self, job_id: str, attempt: int, *, code: str, message: str, slot: str = "") -> tuple[bool, list[Binding]]:
        """running or delivering → failed. Frees the slot in any case."""
        owned, bindings = self._run("fail", job_id, attempt, slot, code, message[:2000])
        return bool(owned), _bindings(bindings)

    def lose(self, job_id: str, attempt: int) -> tuple[str, list[Binding]]:
        """The process of this attempt died: back to the queue, or failed after ``MAX_ATTEMPTS`` runs.

        Returns:
            The state the job is in now, and bindings.
        """
        state, bindings = self._run("lose", job_id, attempt)
        return str(state), _bindings(bindings)

    def hand_back(self, job_id: str, attempt: int, *, slot: str, counted: bool, why: str) -> tuple[str, list[Binding]]:
        """The slot's back end could not do this attempt: back to the queue; the slot gets nothing until it is well.

        Args:
            job_id, attempt, slot: what was to be done where.
            counted: whether it was a run that counts towards ``MAX_ATTEMPTS``.
            why: shown with the slot, and with the job if it fails in the end.

        Returns:
            The state the job is in now, and bindings.
        """
        state, bindings = self._run("hand_back", job_id, attempt, slot, int(counted), why[:500])
        return str(state), _bindings(bindings)

    # ---- delivery

    def claim(self, job_id: str, attempt: int, owner: str) -> int:
        """Begin or renew a delivery: its number, from 1; 0 when it is not to be made (now).

        Another one holds it, the job is over, or the object store is away and another delivery tries it.
        """
        return int(self._run("claim", job_id, attempt, owner))

    def defer(self, job_id: str, attempt: int, owner: str, wait_s: float, *, away: bool) -> int:
        """Give a delivery up for now; the sweep sends it again after ``wait_s``.

        ``away``: the object store does not answer. Until it does, only one delivery of the host tries it at a time.

        Returns:
            How many deliveries of this attempt have failed for another reason.
        """
        return int(self._run("defer", job_id, attempt, owner, int(wait_s * 1000), int(away)))

    def deliver(self, job_id: str, attempt: int, owner: str, outputs: list[Output]) -> bool:
        """delivering → succeeded. False: stale; the outputs are not published and should be removed."""
        listed = json.dumps([output.to_dict() for output in outputs], separators=(",", ":"))
        return bool(self._run("deliver", job_id, attempt, owner, listed))

    def recompute(self, job_id: str, attempt: int) -> list[Binding]:
        """delivering → queued (or failed): the frames are gone."""
        return _bindings(self._run("recompute", job_id, attempt)[1])

    # ---- slots

    def register(
        self, slot: str, owner: str, facts: Mapping[str, Any], *, takeover: bool = False
    ) -> list[Binding] | SlotHeld:
        """Take a slot; its facts need ``models`` (JSON list). ``takeover``: the old owner is known to be dead."""
        reply = self._run("register", slot, owner, int(takeover), *_flat(facts))
        if reply[0] == "held":
            return SlotHeld(reply[1], reply[2] / 1000)
        return _bindings(reply[1])

    def pull(self, base: str, owner: str, facts: Mapping[str, Any], *, most: int, batch: int) -> tuple[str, str, int]:
        """A worker over HTTP asks for a job with one of its (at most ``most``) slots; it would take ``batch`` at once.

        ``base`` names the first slot. The slot takes part in the queue until it has a job or is closed: by a
        :meth:`heartbeat` with the fact ``open`` empty. What it is given meanwhile is an event of the job.

        Returns:
            The slot ('': all of them are taken), the job it has at once or '', and the attempt.
        """
        slot, job_id, attempt = self._run("pull", base, owner, most, batch, *_flat(facts))
        return str(slot), str(job_id), int(attempt)

    def heartbeat(self, slot: str, owner: str, facts: Mapping[str, Any]) -> Heartbeat:
        """Renew the lease."""
        reply = self._run("heartbeat", slot, owner, *_flat(facts))
        if reply[0] == "gone":
            return Heartbeat(held=False)
        _, job_id, attempt, overdue_ms, bindings = reply
        overdue_s = None if overdue_ms < 0 else overdue_ms / 1000
        return Heartbeat(True, job_id, attempt, overdue_s, tuple(_bindings(bindings)))

    def note(self, slot: str, owner: str, facts: Mapping[str, Any]) -> None:
        """What a slot's process holds and is; changes neither lease nor job. Nothing if the slot is not the owner's."""
        self._run("note", slot, owner, *_flat(facts))

    def drain(self, slot: str, owner: str) -> str | None:
        """Take no new job. Returns the one that still runs."""
        return self._run("leave", slot, owner, "drain")[0] or None

    def leave(self, slot: str, owner: str) -> tuple[str | None, list[Binding]]:
        """Give the slot up; its job goes back to the queue without counting as a lost run."""
        job_id, bindings = self._run("leave", slot, owner, "off")
        return job_id or None, _bindings(bindings)

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
        bindings, redeliveries, lost, ended = self._run("sweep", int(WATCH_HEARTBEATS * beat_ms))
        return Sweep(
            _bindings(bindings),
            [Redelivery(job_id, int(attempt), node) for job_id, attempt, node in redeliveries],
            lost,
            [(job_id, state) for job_id, state in ended],
        )

    def until_written(self, write: Callable[[], T], *, pause_s: float = 0.5) -> T:
        """Repeat a write until Redis answers: for what must not be lost, in a worker."""
        while True:
            try:
                return write()
            except Unavailable:
                time.sleep(pause_s)
                pause_s = min(5.0, pause_s * 2)


def _refusal(status: str, answer: list[Any], job_id: str, settings: Settings) -> FramemillError:
    if status == "duplicate":
        return DuplicateJob(f"a job with the id {job_id!r} exists")
    if status == "mismatch":
        return IdempotencyMismatch(f"this Idempotency-Key was used for another request, job {answer[0]}")
    if status == "busy":
        return ServiceBusy()
    if status == "input_gone":
        return Unavailable("an input image of this job is no longer stored; send the request with it again")
    if status == "full":
        return QueueFull(f"{answer[0]} jobs are waiting, the limit is {settings.max_waiting}")
    if status == "model_full":
        return QueueFull(f"too many jobs are waiting for this: its queue has a max length of {answer[0]}")
    if status == "key_full":
        return QueueFull(f"{answer[0]} jobs of this key are waiting, its limit is reached")
    return QueueFull("this key submits more jobs per minute than it may", retry_after_s=max(1, int(answer[0])))


def _flat(fields: Mapping[str, Any]) -> list[Any]:
    return [part for pair in fields.items() for part in pair]


def _bindings(raw: Iterable[Any]) -> list[Binding]:
    return [Binding(job_id, int(attempt), slot) for job_id, attempt, slot in raw]
