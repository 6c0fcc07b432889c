"""The server's answers as frozen records.

Each keeps the whole answer in ``raw``, so a newer server's extra keys are at hand as well; keys that are
missing become None or empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

#: States in which a job never changes again.
ENDED = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True, kw_only=True)
class Task:
    """An accepted job."""

    task_id: str
    #: ``queued``, ``running``, ``delivering``, ``succeeded``, ``failed``, ``cancelled`` or ``expired``.
    state: str
    #: Place in the queue, None when not waiting.
    position: int | None = None
    #: Seconds to the result, estimated; None when unknown.
    eta_s: float | None = None
    #: What the server changed in the request, one sentence each.
    warnings: tuple[str, ...] = ()
    #: The complete request: the fields sent, the model's defaults and the seed.
    request: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            task_id=answer["task_id"],
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
    """One file a job produced. ``frames`` is 1 and ``fps`` 0 for an image."""

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
    #: Of this image; and of the noise that is mixed in, if there is any.
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
    """A small picture of what a running job has so far."""

    #: Steps that were done.
    step: int
    media_type: str
    #: The picture's file.
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a job is."""

    task_id: str
    #: ``queued``, ``running``, ``delivering``, ``succeeded``, ``failed``, ``cancelled`` or ``expired``.
    state: str
    #: Steps done, and steps in all; None before the first report.
    step: int | None = None
    steps: int | None = None
    #: 0 to 100.
    percent: float | None = None
    #: Seconds to the result, estimated; None when unknown.
    eta_s: float | None = None
    #: Place in the queue, None when not waiting.
    position: int | None = None
    #: What a running job does at the moment, such as loading its model.
    stage: str | None = None
    #: How far that is, 0 to 100, while a model is loaded; None where it has no measure of its own.
    stage_percent: int | None = None
    #: The device and the slot it runs on.
    device: str | None = None
    slot: str | None = None
    #: 1 for the first run; more after a worker was lost.
    attempt: int | None = None
    #: The step of the newest preview; None: there is none.
    preview_step: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    warnings: tuple[str, ...] = ()
    #: Times as the server writes them; None as long as it has not happened.
    created_at: Any = None
    started_at: Any = None
    finished_at: Any = None
    #: When its files go; None for a job that has none, or whose files are kept until it is deleted.
    expires_at: Any = None
    outputs: tuple[Output, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def ended(self) -> bool:
        """True when the job will never change again."""
        return self.state in ENDED

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        error = answer.get("error") or {}
        plain = ("step", "steps", "percent", "eta_s", "position", "stage", "stage_percent", "device", "slot", "attempt",
                 "created_at", "started_at", "finished_at", "expires_at")  # fmt: skip
        return cls(
            task_id=answer["task_id"],
            state=answer["state"],
            preview_step=(answer.get("preview") or {}).get("step"),
            error_code=error.get("code"),
            error_message=error.get("message"),
            warnings=tuple(answer.get("warnings") or ()),
            outputs=tuple(Output.from_dict(output) for output in answer.get("outputs") or ()),
            raw=answer,
            **{name: answer.get(name) for name in plain},
        )


@dataclass(frozen=True, kw_only=True)
class TaskPage:
    """One page of the list of jobs. ``next`` is the ``after`` of the next page, None on the last one."""

    tasks: tuple[Status, ...]
    total: int
    next: str | None

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        tasks = tuple(Status.from_dict(status) for status in answer["tasks"])
        return cls(tasks=tasks, total=answer.get("total") or 0, next=answer.get("next"))


@dataclass(frozen=True, kw_only=True)
class Cancellation:
    """The answer to a cancel. ``changed`` is False for a job that had ended before."""

    task_id: str
    state: str
    changed: bool
    stop_status: str | None = None
    reason: str | None = None

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            task_id=answer["task_id"],
            state=answer["state"],
            changed=bool(answer.get("changed")),
            stop_status=answer.get("stop_status"),
            reason=answer.get("reason"),
        )


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """The answer to a deletion. ``deleted`` is False while a worker has not stopped yet: the job goes when it has."""

    task_id: str
    deleted: bool
    #: False for a job that was deleted before.
    changed: bool
    reason: str | None = None

    @classmethod
    def from_dict(cls, answer: Mapping[str, Any]) -> Self:
        return cls(
            task_id=answer["task_id"],
            deleted=bool(answer.get("deleted")),
            changed=bool(answer.get("changed")),
            reason=answer.get("reason"),
        )


@dataclass(frozen=True, kw_only=True)
class BulkCancellation:
    """The answer to a cancel of all running jobs. ``cancelled`` holds their ids."""

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
