"""The server's responses as frozen records.

Each record keeps the complete response in ``raw``, so fields that a newer server adds are available there. A field
that is missing in the response becomes None or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

#: Final states: a job in one of them never changes again.
FINAL_STATES = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output file of a job. ``frames`` is 1 and ``fps`` is 0 for an image."""

    index: int
    url: str
    media_type: str
    bytes: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    fps: float | None = None
    #: Whether a video has a sound track, and its samples per second.
    has_audio: bool | None = None
    audio_sample_rate_hz: int | None = None
    thumbnail_url: str | None = None
    #: The first frame of a video.
    poster_url: str | None = None
    #: Seed of this image, and seed of its variation noise if there is any.
    seed: int | None = None
    variation_seed: int | None = None

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        names = ("bytes", "sha256", "width", "height", "frames", "fps", "has_audio", "audio_sample_rate_hz",
                 "thumbnail_url", "poster_url", "seed", "variation_seed")  # fmt: skip
        return cls(
            index=body.get("index", 0),
            url=body.get("url") or "",
            media_type=body.get("media_type") or "application/octet-stream",
            **{name: body.get(name) for name in names},
        )


@dataclass(frozen=True)
class Preview:
    """A small picture of the intermediate result of a running job."""

    #: Number of steps completed.
    step: int
    media_type: str
    #: The encoded picture.
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job."""

    id: str
    #: ``queued``, ``running``, ``paused``, ``delivering``, ``succeeded``, ``failed``, ``cancelled`` or ``expired``.
    state: str
    #: Whether a running job will be paused after its present step.
    pausing: bool = False
    #: Whether it is the job of an earlier, equal request; only in the answer to a submission with ``reuse``.
    reused: bool = False
    model: str | None = None
    #: ``text2img``, ``img2img``, ``inpaint``, ``mix2img``, ``edit``, ``text2video``, ``img2video`` or
    #: ``video2video``.
    kind: str | None = None
    #: Steps completed, and total number of steps; None if unknown.
    step: int | None = None
    steps: int | None = None
    #: 0 to 100.
    percent: float | None = None
    #: Current activity of a running job, such as loading its model.
    stage: str | None = None
    #: Progress of the stage, 0 to 100, while a model is being loaded; None for stages without a measure.
    stage_percent: int | None = None
    #: Estimated seconds until the result; None if unknown.
    eta_s: float | None = None
    #: Position in the queue; 0 or None if the job is not waiting, None if it may not start yet.
    position: int | None = None
    #: What a waiting job needs before it can start, such as a worker with its model.
    waiting_for: str | None = None
    #: Name of the API key that it belongs to; only admins receive it.
    key: str | None = None
    #: Device and slot that the job runs on.
    device: str | None = None
    slot: str | None = None
    #: 1 for the first run; incremented when a worker is lost.
    attempt: int | None = None
    #: Number of runs that gave their slot to a job of a higher class.
    preemptions: int = 0
    #: Number of jobs that share its run, or shared its last one; None: it ran alone.
    batch_size: int | None = None
    #: Steps after which it is paused, once; None if it is not.
    pause_at_step: int | None = None
    #: Step of the newest preview; None if there is no preview.
    preview_step: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    #: What a library said about the failure; only admins receive it.
    error_cause: str | None = None
    #: The step after which its last run went on from a checkpoint; None: it began at the first one.
    resumed_from_step: int | None = None
    #: One sentence for each change that the server made to the request, and for each thing that went wrong in its runs
    #: without failing them.
    warnings: tuple[str, ...] = ()
    #: The complete request: the submitted fields, the model's defaults and the seed.
    request: Mapping[str, Any] = field(default_factory=dict)
    #: Measurements of a model check.
    report: Mapping[str, Any] | None = None
    #: When it may start at the earliest; None: at once.
    not_before: datetime | None = None
    #: When it was submitted, last began to run, and finished; None for what has not happened yet.
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    #: When a paused job expires unless it is resumed.
    resume_by: datetime | None = None
    #: When the job's files are deleted; None if it has no files, or if they are kept until the job is deleted.
    expires_at: datetime | None = None
    outputs: tuple[Output, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def finished(self) -> bool:
        """True if the job is in a final state."""
        return self.state in FINAL_STATES

    @property
    def prompt(self) -> str | None:
        """The prompt; None if the response has no request."""
        return self.request.get("prompt")

    @property
    def seed(self) -> int | None:
        """Seed of the first output; None if the response has no request."""
        return self.request.get("seed")

    @property
    def duration_s(self) -> float | None:
        """Seconds from the start of the last run to the end of the job; None before that."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        progress, error = body.get("progress") or {}, body.get("error") or {}
        names = ("model", "kind", "eta_s", "position", "waiting_for", "key", "device", "slot", "attempt", "report",
                 "resumed_from_step", "pause_at_step", "batch_size")  # fmt: skip
        return cls(
            id=body["id"],
            state=body["state"],
            pausing=bool(body.get("pausing")),
            reused=bool(body.get("reused")),
            preview_step=(body.get("preview") or {}).get("step"),
            error_code=error.get("code"),
            error_message=error.get("message"),
            error_cause=error.get("cause"),
            warnings=tuple(body.get("warnings") or ()),
            request=body.get("request") or {},
            outputs=tuple(Output.from_dict(output) for output in body.get("outputs") or ()),
            links=body.get("links") or {},
            raw=body,
            preemptions=body.get("preemptions") or 0,
            **{name: progress.get(name) for name in ("step", "steps", "percent", "stage", "stage_percent")},
            **{name: body.get(name) for name in names},
            not_before=_time(body.get("not_before")),
            created_at=_time(body.get("created_at")),
            started_at=_time(body.get("started_at")),
            finished_at=_time(body.get("finished_at")),
            resume_by=_time(body.get("resume_by")),
            expires_at=_time(body.get("expires_at")),
        )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


@dataclass(frozen=True, kw_only=True)
class Generated:
    """A job that has succeeded, and the files that were saved: one for each output."""

    job: Job
    files: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of one job."""

    #: ``status`` (the complete current job, sent first), ``state``, ``progress`` (one step), ``preview`` (a new
    #: picture) or ``end`` (the last event).
    name: str
    #: Position in the server's event stream. A later call can resume after it.
    event_id: str
    #: The job after the change. ``state`` and ``progress`` events carry its state, progress, slot and remaining time
    #: only; the other events carry all fields.
    job: Job
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class JobPage:
    """One page of the list of jobs. ``next`` is the ``after`` argument for the next page, None on the last page."""

    jobs: tuple[Job, ...]
    #: Number of jobs in the whole list; None in lists by model or text.
    total: int | None
    next: str | None

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        jobs = tuple(Job.from_dict(job) for job in body["jobs"])
        return cls(jobs=jobs, total=body.get("total"), next=body.get("next"))


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """Result of a cancellation. ``cancelled`` is False if the job had already finished."""

    id: str
    state: str
    cancelled: bool

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        return cls(id=body["id"], state=body["state"], cancelled=bool(body["cancelled"]))


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """Result of a deletion. ``deleted`` is False while a worker is still stopping; the job is deleted after that."""

    id: str
    deleted: bool
    #: False if the job had already been deleted.
    changed: bool

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        return cls(id=body["id"], deleted=bool(body["deleted"]), changed=bool(body.get("changed")))
