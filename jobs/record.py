"""The record of a job, and job ids.

Each field of a job is declared once, with its name and codec in the Redis hash (:mod:`jobs.record_fields`).
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from jobs.errors import InvalidRequest, Problem
from jobs.outbound.webhook import Webhook
from jobs.record_fields import (
    IF_FALSE,
    IF_TRUE,
    INTEGER,
    JSON,
    SECONDS,
    SECONDS_AS_MS,
    FieldCodec,
    decode,
    default_of,
    storage_of,
    stored,
)
from jobs.requests.custom import request_from
from jobs.requests.generation import GenerationRequest
from jobs.states import Interrupt, JobState

#: Ids that a client may choose: they become Redis keys, Celery task ids, file and URL parts.
_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
#: Path segments of routes beside a job's own: ``/v1/jobs/cancel``, and those of LightX2V's ``/v1/tasks/``.
_RESERVED_IDS = frozenset({"cancel", "running", "all", "queue", "image", "video", "form"})


def new_job_id() -> str:
    """24 lower-case hex characters: 4 bytes of time in seconds, 8 random bytes."""
    return f"{int(time.time()):08x}{secrets.token_hex(8)}"


def check_job_id(job_id: str) -> str:
    """Return an id that a client chose. Raises: InvalidRequest: it may not be used."""
    if not _CLIENT_ID.fullmatch(job_id) or job_id in _RESERVED_IDS:
        rule = "must be 1 to 64 letters, digits, '_' or '-', start with a letter or digit, and not be a reserved word"
        raise InvalidRequest(Problem("id", rule, job_id))
    return job_id


@dataclass(frozen=True)
class Output:
    """One stored file of a finished job, with its thumbnail and poster."""

    key: str
    media_type: str
    bytes: int
    sha256: str
    width: int
    height: int
    frames: int = 1
    fps: float = 0.0
    #: Samples per second of its sound; 0: it has none.
    audio_sample_rate_hz: int = 0
    #: Whether it was made unrecognisable because the check of outputs refused it.
    moderated: bool = False
    thumbnail: Output | None = None
    #: The first frame of a video, in full size.
    poster: Output | None = None

    @property
    def keys(self) -> list[str]:
        """The object-store keys of the file and of its previews."""
        return [self.key, *(preview.key for preview in (self.thumbnail, self.poster) if preview)]

    def to_dict(self) -> dict[str, Any]:
        """Return its form in the record, which omits fields that equal their default."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: value.to_dict() if isinstance(value, Output) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Output:
        previews = {name: cls.from_dict(values[name]) for name in ("thumbnail", "poster") if values.get(name)}
        known = {name: value for name, value in values.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, **previews})


#: Version of what records say. Raise it when a field is added that no worker may ignore, or one changes its meaning:
#: an older worker hands such a job back, and a newer one runs it. A record has the version that its fields need
#: (``Submission.needed_version``), so that older workers still run all other jobs.
RECORD_VERSION = 2

#: Priorities go from minus this to this.
MAX_PRIORITY = 100

#: The request, as compact JSON.
_REQUEST = FieldCodec(
    lambda request: json.dumps(request.to_dict(), separators=(",", ":"), ensure_ascii=False),
    lambda text: request_from(json.loads(text)),
)
#: False (no webhook at all) is stored as the empty text, which is read as None.
_WEBHOOK = FieldCodec(lambda webhook: webhook.to_json() if webhook else "", Webhook.from_json)
_OUTPUTS = FieldCodec(
    lambda outputs: json.dumps([output.to_dict() for output in outputs]),
    lambda text: [Output.from_dict(output) for output in json.loads(text)],
)


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The part of a job that is decided when it is submitted and never changes."""

    request: GenerationRequest = field(metadata=stored("request", _REQUEST, always=True))
    warnings: list[str] = field(default_factory=list, metadata=stored("warnings", JSON))
    #: Version of the Framemill that wrote it; records of the first version do not state it.
    version: int = field(default=1, metadata=stored("version", INTEGER, kept_by_retry=False))
    #: Wire protocol it was submitted by.
    protocol: str = field(default="native", metadata=stored("protocol", always=True))
    #: The only slot that may run it.
    pin: str | None = field(default=None, metadata=stored("pin"))
    #: Scheduling class; '' before it is accepted: the caller's.
    job_class: str = field(default="", metadata=stored("class", set_by_caller=True, shown_as="class"))
    #: Jobs of the same caller and class run in the order of their priorities, highest first.
    priority: int = field(default=0, metadata=stored("priority", INTEGER, set_by_caller=True, shown_as="priority"))
    #: When it may start at the earliest, milliseconds since 1970; None: at once.
    not_before_ms: int | None = field(default=None, metadata=stored("not_before", INTEGER, kept_by_retry=False))
    #: Longest run, in seconds; 0: no limit.
    max_run_s: float = field(default=0, metadata=stored("max_run_ms", SECONDS_AS_MS))
    #: How often its runs store a checkpoint, in seconds; 0: only when they are interrupted. None: as the model says.
    checkpoint_interval_s: float | None = field(default=None, metadata=stored("checkpoint_interval_s", SECONDS))
    #: The finished steps after which its run is paused, once; None: it is not. Workers of version 1 would go on.
    pause_at_step: int | None = field(
        default=None, metadata=stored("pause_at_step", INTEGER, set_by_caller=True, shown_as="pause_at_step")
    )
    #: Longest silence of a worker over HTTP before its run counts as lost, in seconds; 0: the slot's lease.
    max_silence_s: float = field(default=0, metadata=stored("max_silence_ms", SECONDS_AS_MS))
    #: Whether previews are made throughout the run, even if nobody asks for them.
    preview: bool = field(default=False, metadata=stored("preview", IF_TRUE))
    #: How long its files are kept: ``keep``, ``days`` or ``hours``; '' before it is accepted: the caller's default.
    retention: str = field(default="", metadata=stored("retention", set_by_caller=True, shown_as="retention"))
    #: The job that this one retries.
    retry_of: str | None = field(default=None, metadata=stored("retry_of", kept_by_retry=False))
    #: Model command to run instead of a request (:data:`jobs.model_commands.COMMANDS`); None for an ordinary job.
    command: str | None = field(default=None, metadata=stored("command", shown_as="command"))
    #: What a model command is to do, if it needs to be told.
    command_options: dict[str, Any] = field(default_factory=dict, metadata=stored("command_options", JSON))
    #: Where its events go. Before it is accepted, None means the webhook of its key, and False none at all.
    webhook: Webhook | Literal[False] | None = field(default=None, metadata=stored("webhook", _WEBHOOK))
    #: Whether prompts and outputs are moderated, if the server does so.
    moderate: bool = field(default=True, metadata=stored("unmoderated", IF_FALSE))
    #: An additional key, at the top of the object store, for the first output; '' for none.
    alias: str = field(default="", metadata=stored("alias", kept_by_retry=False))
    #: Fields of the request that have no effect, and that its protocol shows again as they were sent.
    sent: dict[str, Any] = field(default_factory=dict, metadata=stored("sent", JSON))
    #: The trace that it belongs to: ``traceparent`` of the request that submitted it (W3C Trace Context); '' for none.
    trace: str = field(default="", metadata=stored("trace", kept_by_retry=False))
    #: Name that the caller gave the output, a relative path; '' for none.
    path: str = field(default="", metadata=stored("path", kept_by_retry=False))


@dataclass(frozen=True, kw_only=True)
class Job(JobOptions):
    """One record. Times are milliseconds since 1970, None until they happened."""

    job_id: str
    state: JobState = field(metadata=stored("state", FieldCodec(str, JobState)))
    #: The API key it belongs to, ``-`` on a server without keys.
    key_id: str = field(default="-", metadata=stored("key"))
    created_at_ms: int = field(metadata=stored("created_at", INTEGER))
    started_at_ms: int | None = field(default=None, metadata=stored("started_at", INTEGER))
    computed_at_ms: int | None = field(default=None, metadata=stored("computed_at", INTEGER))
    #: Duration of the computation without loading, seconds.
    run_s: float | None = field(default=None, metadata=stored("run_s", SECONDS))
    finished_at_ms: int | None = field(default=None, metadata=stored("finished_at", INTEGER))
    #: Fencing token: number of times it was bound to a slot.
    attempt: int = field(default=0, metadata=stored("attempt", INTEGER))
    #: Number of runs that began.
    starts: int = field(default=0, metadata=stored("starts", INTEGER))
    #: Number of runs that gave their slot to a job of a higher class.
    preemptions: int = field(default=0, metadata=stored("preemptions", INTEGER, shown_as="preemptions"))
    slot: str | None = field(default=None, metadata=stored("slot", shown_as="slot"))
    device: str | None = field(default=None, metadata=stored("device", shown_as="device"))
    #: ``loading``, ``denoising``, ``decoding`` or ``delivering``.
    stage: str | None = field(default=None, metadata=stored("stage"))
    step: int | None = field(default=None, metadata=stored("step", INTEGER))
    steps: int = field(metadata=stored("steps", INTEGER))
    #: Progress of the present stage, 0 to 100, where it can be measured: the bytes of a model that is loaded.
    stage_percent: int | None = field(default=None, metadata=stored("stage_percent", INTEGER))
    #: Number of jobs that its present or last run computed together; None: it ran alone.
    batch_size: int | None = field(default=None, metadata=stored("batch_size", INTEGER, shown_as="batch_size"))
    #: Seconds to the end of the run, as the worker measures them.
    run_eta_s: float | None = field(default=None, metadata=stored("eta_s", SECONDS))
    #: ``code`` and ``message`` of a failure.
    error: dict[str, str] | None = field(default=None, metadata=stored("error", JSON, shown_as="error"))
    #: What a library said about the failure. It may name paths of the host, so only admins are shown it.
    cause: str = field(default="", metadata=stored("cause"))
    outputs: list[Output] = field(default_factory=list, metadata=stored("outputs", _OUTPUTS))
    #: The step of the newest preview; None: there is none.
    preview_step: int | None = field(default=None, metadata=stored("preview_step", INTEGER))
    #: What a worker over HTTP returned besides its outputs, which stand in it as ``{"files": [index, …]}``.
    result: dict[str, Any] = field(default_factory=dict, metadata=stored("result", JSON))
    #: Result of a model command.
    report: dict[str, Any] | None = field(default=None, metadata=stored("report", JSON, shown_as="report"))
    #: When it was put back into the queue, the last time. Only for jobs with a trace, as is the next field.
    queued_at_ms: int | None = field(default=None, metadata=stored("queued_at", INTEGER))
    #: Runs whose process died: when each was queued, started and lost, its attempt, and its slot.
    lost_runs: list[tuple[int, int, int, int, str]] = field(default_factory=list, metadata=stored("lost_runs", JSON))
    #: The newest stored checkpoint of its runs: ``step``, ``attempt``, ``at_ms``, ``node`` and ``key`` in the object
    #: store ('' when it is not there).
    checkpoint: dict[str, Any] | None = field(default=None, metadata=stored("checkpoint", JSON))
    #: The step after which its present or last run went on; None: the run began at the first step.
    resumed_from_step: int | None = field(
        default=None, metadata=stored("resumed_from_step", INTEGER, shown_as="resumed_from_step")
    )
    #: Whether its present run can be interrupted and go on later.
    resumable: bool = field(default=False, metadata=stored("resumable", IF_TRUE))
    #: Why it cannot; '' if that is not known.
    not_resumable: str = field(default="", metadata=stored("not_resumable"))
    #: Why its present run is to give its slot back after the present step (:class:`jobs.states.Interrupt`).
    interrupt: str = field(default="", metadata=stored("interrupt"))
    #: Warnings about its runs.
    run_warnings: list[str] = field(default_factory=list, metadata=stored("run_warnings", JSON))
    #: Whether it was paused at ``pause_at_step``.
    is_past_pause: bool = field(default=False, metadata=stored("is_past_pause", IF_TRUE))
    #: When a paused job expires unless it is resumed; None unless it is paused.
    resume_by_ms: int | None = field(default=None, metadata=stored("resume_by", INTEGER))
    #: How long its pauses that are over were, in milliseconds.
    paused_ms: int = field(default=0, metadata=stored("paused_ms", INTEGER))
    #: Why a back end returned it to the queue, the last time.
    handed_back: str = field(default="", metadata=stored("handed_back"))
    #: When its files expire; None before it has any, and for files that are kept.
    expires_at_ms: int | None = field(default=None, metadata=stored("expires_at", INTEGER))
    #: When its files were removed.
    removed_at_ms: int | None = field(default=None, metadata=stored("removed_at", INTEGER))

    @property
    def all_warnings(self) -> list[str]:
        """Warnings about the request and about the runs."""
        return [*self.warnings, *self.run_warnings]

    @property
    def is_pausing(self) -> bool:
        """Whether it is to be paused after the present step of its run."""
        return self.state is JobState.RUNNING and self.interrupt == Interrupt.PAUSE

    @property
    def percent(self) -> int:
        """Progress, 0 to 100; 100 only for a job that has succeeded."""
        if self.state is JobState.SUCCEEDED:
            return 100
        return min(99, 100 * (self.step or 0) // max(1, self.steps))

    @classmethod
    def from_hash(cls, job_id: str, values: Mapping[str, str]) -> Job:
        """Read the Redis hash of a record."""
        decoded = decode(cls, values)
        decoded.setdefault("steps", decoded["request"].total_steps)
        return cls(job_id=job_id, **decoded)

    def updated(self, texts: Sequence[str | None]) -> Job | None:
        """Return the job with these texts of :data:`CHANGING`; None if its other fields may have changed as well."""
        present = {name: text for name, text in zip(CHANGING, texts, strict=True) if text}
        decoded = {**_CHANGING_DEFAULTS, "steps": self.request.total_steps, **decode(Job, present)}
        same = ("state", "created_at_ms", "removed_at_ms")  # also: another job has got its id; its outputs were removed
        if [decoded.get(name) for name in same] != [getattr(self, name) for name in same]:
            return None
        return replace(self, **decoded)


#: Fields of a job that never change, and those that change together with its state or when its files are removed.
_CONSTANT = frozenset(storage_of(JobOptions)) - {"priority"} | {"key_id"}
_CHANGED_WITH_STATE = frozenset({
    "error", "cause", "outputs", "result", "report", "run_s", "queued_at_ms", "lost_runs",
    "paused_ms",
})  # fmt: skip
_CHANGING = {
    attribute: storage.name
    for attribute, storage in storage_of(Job).items()
    if attribute not in _CONSTANT | _CHANGED_WITH_STATE
}
#: Names in the Redis hash of all other fields. They are short, and while they are the same, so is the job.
CHANGING = tuple(_CHANGING.values())
_CHANGING_DEFAULTS = {
    name: default_of(Job, name) for name in _CHANGING if name not in ("state", "created_at_ms", "steps")
}
