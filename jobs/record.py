"""A job as Redis holds it, and job ids."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from jobs.errors import InvalidRequest, Problem
from jobs.outbound.webhook import Webhook
from jobs.requests.custom import request_from
from jobs.requests.generation import GenerationRequest
from jobs.states import JobState

#: Ids that a client may choose: they become Redis keys, Celery task ids, file and URL parts.
_CLIENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
#: Path segments of routes beside a job's own: ``/v1/jobs/cancel``, and those of LightX2V's ``/v1/tasks/``.
_RESERVED_IDS = frozenset({"cancel", "running", "all", "queue", "image", "video", "form"})


def new_job_id() -> str:
    """24 lower-case hex characters: 4 bytes of time in seconds, 8 random bytes."""
    return f"{int(time.time()):08x}{secrets.token_hex(8)}"


def check_job_id(job_id: str) -> str:
    """Return a client's own id if it may be used. Raises: InvalidRequest."""
    if not _CLIENT_ID.fullmatch(job_id) or job_id in _RESERVED_IDS:
        rule = "must be 1 to 64 letters, digits, '_' or '-', start with a letter or digit, and not be a reserved word"
        raise InvalidRequest(Problem("id", rule, job_id))
    return job_id


@dataclass(frozen=True)
class Output:
    """One stored file of a finished job, with those made from it to be looked at."""

    key: str
    media_type: str
    bytes: int
    sha256: str
    width: int
    height: int
    frames: int = 1
    fps: float = 0.0
    #: Made unrecognisable, because the check of outputs refused it.
    moderated: bool = False
    thumbnail: Output | None = None
    #: The first frame of a video, in full size.
    poster: Output | None = None

    @property
    def keys(self) -> list[str]:
        """Of every file that belongs to it."""
        return [self.key, *(preview.key for preview in (self.thumbnail, self.poster) if preview)]

    def to_dict(self) -> dict[str, Any]:
        """As the record holds it: without what is as it is by default."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        return {name: value.to_dict() if isinstance(value, Output) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Output:
        previews = {name: cls.from_dict(values[name]) for name in ("thumbnail", "poster") if values.get(name)}
        return cls(**{**values, **previews})


@dataclass(frozen=True, kw_only=True)
class Job:
    """One record. Times are milliseconds since 1970, None until they happened."""

    job_id: str
    state: JobState
    request: GenerationRequest
    warnings: list[str] = field(default_factory=list)
    #: Which wire protocol it came by.
    protocol: str = "native"
    #: The only slot that may run it.
    pin: str | None = None
    created_at_ms: int
    started_at_ms: int | None = None
    computed_at_ms: int | None = None
    finished_at_ms: int | None = None
    #: Fencing token: number of times it was bound to a slot.
    attempt: int = 0
    #: Number of runs that began.
    starts: int = 0
    slot: str | None = None
    device: str | None = None
    #: ``loading``, ``denoising``, ``decoding`` or ``delivering``.
    stage: str | None = None
    step: int | None = None
    steps: int
    #: How far the present stage is, 0 to 100, where it has a measure of its own: bytes of a model that is loaded.
    stage_percent: int | None = None
    #: Seconds to the end of the run, as the worker measures them.
    run_eta_s: float | None = None
    #: ``code`` and ``message`` of a failure.
    error: dict[str, str] | None = None
    outputs: list[Output] = field(default_factory=list)
    #: Whether previews were asked for when it was sent.
    preview: bool = False
    #: The step of the newest preview; None: there is none.
    preview_step: int | None = None
    #: What a worker over HTTP gave beside its outputs; outputs stand in it as ``{"files": [index, …]}``.
    result: dict[str, Any] = field(default_factory=dict)
    #: The API key it belongs to, ``-`` on a server without keys.
    key_id: str = "-"
    job_class: str = "general"
    priority: int = 0
    #: Longest run, seconds; None: no limit.
    max_run_s: float | None = None
    #: A worker over HTTP that is silent for so many seconds is taken for dead.
    max_silence_s: float = 0
    #: A job that this one was sent again for.
    retry_of: str | None = None
    #: Model command to run instead of computing (:data:`jobs.model_commands.COMMANDS`); None for an ordinary job.
    command: str | None = None
    #: What a command found.
    report: dict[str, Any] | None = None
    #: The caller's own name for the output, a relative path; '' for none.
    path: str = ""
    #: Why a back end gave it back, the last time.
    handed_back: str = ""
    #: How long its files are kept: ``keep``, ``days`` or ``hours``.
    retention: str = "days"
    #: When its files go; None before it has any, and for those that are kept.
    expires_at_ms: int | None = None
    #: When they went.
    removed_at_ms: int | None = None
    #: A name of its own, at the top of the object store, for the first output; '' for none.
    alias: str = ""
    #: Where its events go.
    webhook: Webhook | None = None
    #: Whether prompts and outputs are moderated, where the server does so.
    moderate: bool = True

    @property
    def percent(self) -> int:
        """0 to 100; 100 only when succeeded."""
        if self.state is JobState.SUCCEEDED:
            return 100
        return min(99, 100 * (self.step or 0) // max(1, self.steps))

    @classmethod
    def from_hash(cls, job_id: str, values: Mapping[str, str]) -> Job:
        """Read the Redis hash of a record."""

        def number(name: str) -> int | None:
            return int(values[name]) if values.get(name) else None

        request = request_from(json.loads(values["request"]))
        return cls(
            job_id=job_id,
            state=JobState(values["state"]),
            request=request,
            warnings=json.loads(values.get("warnings") or "[]"),
            protocol=values.get("protocol") or "native",
            pin=values.get("pin") or None,
            created_at_ms=int(values["created_at"]),
            started_at_ms=number("started_at"),
            computed_at_ms=number("computed_at"),
            finished_at_ms=number("finished_at"),
            attempt=number("attempt") or 0,
            starts=number("starts") or 0,
            slot=values.get("slot") or None,
            device=values.get("device") or None,
            stage=values.get("stage") or None,
            step=number("step"),
            steps=number("steps") or request.total_steps,
            run_eta_s=float(values["eta_s"]) if values.get("eta_s") else None,
            error=json.loads(values["error"]) if values.get("error") else None,
            outputs=[Output.from_dict(output) for output in json.loads(values.get("outputs") or "[]")],
            preview=bool(values.get("preview")),
            preview_step=number("preview_step"),
            result=json.loads(values.get("result") or "{}"),
            key_id=values.get("key") or "-",
            job_class=values.get("class") or "general",
            priority=number("priority") or 0,
            max_run_s=int(values["max_run_ms"]) / 1000 if values.get("max_run_ms") else None,
            max_silence_s=int(values.get("max_silence_ms") or 0) / 1000,
            retry_of=values.get("retry_of"),
            stage_percent=number("stage_percent"),
            command=values.get("command") or None,
            report=json.loads(values["report"]) if values.get("report") else None,
            path=values.get("path", ""),
            handed_back=values.get("handed_back", ""),
            retention=values.get("retention") or "days",
            expires_at_ms=number("expires_at"),
            removed_at_ms=number("removed_at"),
            alias=values.get("alias", ""),
            webhook=Webhook.from_json(values["webhook"]) if values.get("webhook") else None,
            moderate="unmoderated" not in values,
        )
