"""What a caller asks for: the request, and how it is to be queued."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jobs.callers import ANYBODY, Caller
from jobs.forecast import Forecast
from jobs.outbound.webhook import Webhook
from jobs.requests.generation import GenerationRequest
from jobs.slots.slot import Binding
from jobs.store.subscriber_queue import Mail

#: Priorities go from -this to this.
MAX_PRIORITY = 100


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A job to be accepted."""

    request: GenerationRequest
    caller: Caller = ANYBODY
    warnings: list[str] = field(default_factory=list)
    #: The only slot that may run it.
    pin: str | None = None
    protocol: str = "native"
    #: Scheduling class; None: the caller's default.
    job_class: str | None = None
    #: Higher goes first, among jobs of the same caller and class only.
    priority: int = 0
    #: It expires unless it starts within so many seconds; 0: no deadline.
    start_within_s: float = 0
    #: Longest run, seconds; 0: no limit.
    max_run_s: float = 0
    #: Make previews all through the run, whether or not somebody looks.
    preview: bool = False
    #: A repeat with the same key within a day is answered with the first job; '' for none.
    idempotency_key: str = ""
    #: How long its files are kept: a class, or None for the caller's default.
    retention: str | None = None
    #: The job this one is sent again for.
    retry_of: str | None = None
    #: What to do with the model instead of computing, see :mod:`jobs.model_commands`.
    command: str | None = None
    #: Where its events go; None: where the key's jobs' events go; False: nowhere.
    webhook: Webhook | Literal[False] | None = None
    #: False: neither its prompts nor its outputs are moderated.
    moderate: bool = True
    #: A name of its own, at the top of the object store, for the first output; '' for none.
    alias: str = ""
    #: Whom to tell of it over a socket.
    mail: Mail | None = None
    #: Jobs of its model that may wait; None: any number.
    model_max_waiting: int | None = None
    #: A worker over HTTP that says nothing about its run for so many seconds is taken for dead; 0: the slot's lease.
    max_silence_s: float = 0
    #: Hash of what was sent, to tell a repeat from a mistake.
    fingerprint: str = ""
    #: Refuse it unless it starts at once.
    only_if_idle: bool = False
    #: The caller's own name for the output, a relative path; '' for none.
    path: str = ""


@dataclass(frozen=True)
class Accepted:
    """The answer of the store."""

    job_id: str
    bindings: list[Binding] = field(default_factory=list)
    created_at_ms: int = 0
    forecast: Forecast = Forecast(None)
    #: True: an earlier job, sent with the same idempotency key.
    repeated: bool = False
    #: The name of the output: another than the wanted one, if an earlier job has that.
    path: str = ""
