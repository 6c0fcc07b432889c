"""The server's responses as frozen records.

Each record keeps the complete response in ``raw``, so fields that a newer server adds are available there. A field
that is missing in the response becomes None or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

#: Final states: a job in one of them never changes again.
ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, kw_only=True)
class Task:
    """An accepted job."""

    task_id: str
    #: ``queued``, ``running``, ``delivering``, ``succeeded``, ``failed``, ``cancelled`` or ``expired``.
    state: str
    #: Position in the queue; None if the job is not waiting.
    position: int | None = None
    #: Estimated seconds until the result; None if unknown.
    eta_s: float | None = None
    #: One sentence for each change that the server made to the request.
    warnings: tuple[str, ...] = ()
    #: The complete request: the submitted fields, the model's defaults and the seed.
    request: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            task_id=answer["id"],
            state=answer.get("state") or "queued",
            position=answer.get("position"),
            eta_s=answer.get("eta_s"),
            warnings=tuple(answer.get("warnings") or ()),
            request=answer.get("request") or {},
            links=answer.get("links") or {},
            raw=answer,
        )


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
    thumbnail_url: str | None = None
    #: The first frame of a video.
    poster_url: str | None = None
    #: Seed of this image, and seed of its variation noise if there is any.
    seed: int | None = None
    variation_seed: int | None = None

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        names = ("bytes", "sha256", "width", "height", "frames", "fps", "thumbnail_url", "poster_url", "seed",
                 "variation_seed")  # fmt: skip
        return cls(
            index=answer.get("index", 0),
            url=answer.get("url") or "",
            media_type=answer.get("media_type") or "application/octet-stream",
            **{name: answer.get(name) for name in names},
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
class Status:
    """The current state of a job."""

    task_id: str
    #: ``queued``, ``running``, ``delivering``, ``succeeded``, ``failed``, ``cancelled`` or ``expired``.
    state: str
    #: Steps completed, and total number of steps; None before the first progress report.
    step: int | None = None
    steps: int | None = None
    #: 0 to 100.
    percent: float | None = None
    #: Estimated seconds until the result; None if unknown.
    eta_s: float | None = None
    #: Position in the queue; None if the job is not waiting.
    position: int | None = None
    #: Current activity of a running job, such as loading its model.
    stage: str | None = None
    #: Progress of the stage, 0 to 100, while a model is being loaded; None for stages without a measure.
    stage_percent: int | None = None
    #: Device and slot that the job runs on.
    device: str | None = None
    slot: str | None = None
    #: 1 for the first run; incremented when a worker is lost.
    attempt: int | None = None
    #: Step of the newest preview; None if there is no preview.
    preview_step: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    warnings: tuple[str, ...] = ()
    #: Times as the server writes them; None for events that have not happened yet.
    created_at: Any = None
    started_at: Any = None
    finished_at: Any = None
    #: When the job's files are deleted; None if it has no files, or if they are kept until the job is deleted.
    expires_at: Any = None
    outputs: tuple[Output, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ended(self) -> bool:
        """True if the job is in a final state."""
        return self.state in ENDED

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        error = answer.get("error") or {}
        plain = ("eta_s", "position", "device", "slot", "attempt", "created_at", "started_at", "finished_at",
                 "expires_at")  # fmt: skip
        progress = answer.get("progress") or {}
        return cls(
            task_id=answer["id"],
            state=answer["state"],
            preview_step=(answer.get("preview") or {}).get("step"),
            error_code=error.get("code"),
            error_message=error.get("message"),
            warnings=tuple(answer.get("warnings") or ()),
            outputs=tuple(Output.from_dict(output) for output in answer.get("outputs") or ()),
            raw=answer,
            **{name: progress.get(name) for name in ("step", "steps", "percent", "stage", "stage_percent")},
            **{name: answer.get(name) for name in plain},
        )


@dataclass(frozen=True, kw_only=True)
class Event:
    """One change of one job."""

    #: ``status`` (the complete current state, sent first), ``state``, ``progress`` (one step), ``preview`` (a new
    #: picture) or ``end`` (the last event).
    name: str
    #: Position in the server's event stream. A later call can resume after it.
    event_id: str
    #: The job after the change. ``state`` and ``progress`` events carry its state, step, slot, stage and remaining
    #: time only; the other events carry all fields.
    status: Status
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """One page of the list of jobs. ``next`` is the ``after`` argument for the next page, None on the last page."""

    tasks: tuple[Status, ...]
    total: int
    next: str | None

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        tasks = tuple(Status.from_dict(status) for status in answer["jobs"])
        return cls(tasks=tasks, total=answer.get("total") or 0, next=answer.get("next"))


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """Result of a cancellation. ``changed`` is False if the job had already finished."""

    task_id: str
    state: str
    changed: bool
    stop_status: str | None = None
    reason: str | None = None

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            task_id=answer["id"],
            state=answer["state"],
            changed=bool(answer.get("cancelled")),
            stop_status=answer.get("stop_status"),
            reason=answer.get("reason"),
        )


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """Result of a deletion. ``deleted`` is False while a worker is still stopping; the job is deleted after that."""

    task_id: str
    deleted: bool
    #: False if the job had already been deleted.
    changed: bool
    reason: str | None = None

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            task_id=answer["id"],
            deleted=bool(answer.get("deleted")),
            changed=bool(answer.get("changed")),
            reason=answer.get("reason"),
        )


@dataclass(frozen=True, kw_only=True)
class BulkCancellation:
    """Result of cancelling all running jobs. ``cancelled`` holds their ids."""

    cancelled: tuple[str, ...]
    stop_status: str | None = None
    reason: str | None = None

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            cancelled=tuple(answer.get("cancelled") or ()),
            stop_status=answer.get("stop_status"),
            reason=answer.get("reason"),
        )
