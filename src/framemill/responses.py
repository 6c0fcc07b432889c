"""Types of the responses that the client returns as the server sent them: dictionaries with these keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


class ErrorDetails(TypedDict):
    """Why a job failed."""

    code: str
    message: str
    #: What a library said; only admins receive it.
    cause: NotRequired[str]


class LoadedModel(TypedDict):
    """A model in a slot's memory."""

    model: str
    #: ``device``, ``parked`` (in RAM) or ``offloaded``.
    place: str
    #: Size of its weights.
    bytes: int
    pinned: bool


class DeviceFacts(TypedDict, total=False):
    """What a device reports; values that cannot be measured are absent."""

    name: str
    memory_total_bytes: int
    memory_used_bytes: int
    memory_free_bytes: int
    utilization_percent: float
    temperature_c: float
    load_1min: float
    cores: int


class Slot(TypedDict):
    """A place that runs one job at a time."""

    name: str
    node: str
    device: str
    device_name: str
    #: ``idle``, ``busy``, ``paused``, ``waiting``, ``draining`` or ``lost``.
    state: str
    #: Your job that it computes.
    job_id: str | None
    #: Models that it may run, and those in its memory with which a job starts at once.
    models: list[str]
    resident: list[str]
    #: Number of models read from disk since it started.
    loads: int
    #: Why it gets no job now.
    waiting_for: str | None
    out_of_memory: int
    held: list[LoadedModel]
    device_facts: DeviceFacts


class Fleet(TypedDict):
    """The slots and the delivery workers."""

    slots: list[Slot]
    #: Hosts with a delivery worker, and those whose deliveries wait for the object store.
    delivery: list[str]
    object_store_away: list[str]
    #: Version of the server.
    version: str


class Sample(TypedDict):
    """Means of a minute; values that cannot be measured are absent."""

    at: str | None
    memory_total_bytes: NotRequired[int]
    memory_used_bytes: NotRequired[int]
    utilization_percent: NotRequired[float]
    temperature_c: NotRequired[float]
    load_1min: NotRequired[float]
    cores: NotRequired[int]


class SlotHistory(TypedDict):
    """The last hour of a slot's device."""

    name: str
    #: Oldest first; empty for back ends.
    samples: list[Sample]


class FleetHistory(TypedDict):
    """The last hour of all slots."""

    #: Seconds between two samples.
    interval_s: int
    slots: list[SlotHistory]


class WaitingJobs(TypedDict):
    """Number of waiting jobs."""

    total: int
    by_model: dict[str, int]
    by_class: dict[str, int]


class EtaAccuracy(TypedDict):
    """Accuracy of the expected times."""

    jobs: int
    mean_error_s: float
    mean_actual_s: float


class Queue(TypedDict):
    """The queue."""

    #: Whether a job that is submitted now would start at once.
    idle: bool
    #: Your jobs that are computed or delivered.
    active: list[str]
    #: Number of jobs by state.
    counts: dict[str, int]
    submitted: int
    waiting: WaitingJobs
    #: Models that no live worker has.
    waiting_for: list[str]
    max_waiting: int
    #: Paused slots; ``*`` is the whole queue.
    paused: list[str]
    eta: EtaAccuracy


class Limit(TypedDict):
    """A range of allowed values."""

    min: float
    max: float


class ModelCopy(TypedDict):
    """Where a model is in memory."""

    slot: str
    place: str
    bytes: int


class Model(TypedDict):
    """A model."""

    name: str
    #: Other names of it for clients of OpenAI's API; ``*`` stands for any part.
    aliases: list[str]
    description: str
    kinds: list[str]
    #: Values of fields that a request omits.
    defaults: dict[str, Any]
    #: Range of allowed values by field.
    limits: dict[str, Limit]
    #: Values of each quality that a request may have; empty if there is only one.
    quality: dict[str, dict[str, Any]]
    #: Whether values outside the limits are changed, with a warning, not refused.
    clamp: bool
    size_multiple_px: int
    frames_step: int
    schedulers: list[str]
    loras: list[str]
    #: Controls that a request may name: name, type, description, kinds, defaults and limits.
    controls: list[dict[str, Any]]
    #: Slots that may run it; empty: all.
    slots: list[str]
    #: Whether it has weights, which can be loaded, pinned and checked.
    #: Input files that each kind takes.
    inputs: dict[str, list[str]]
    loadable: bool
    warm: bool
    #: Slots that keep it, and where it is in memory; None while Redis does not respond.
    pinned: list[str] | None
    memory: list[ModelCopy] | None


class CommandOnSlot(TypedDict):
    """What a model command does on a slot."""

    slot: str
    #: What will happen.
    will: str
    #: The job that does it; absent if there is nothing to do.
    job_id: NotRequired[str]
    position: NotRequired[int | None]
    links: NotRequired[Mapping[str, str]]


class ModelCommand(TypedDict):
    """The response to a model command."""

    model: str
    command: str
    slots: list[CommandOnSlot]


class Amount(TypedDict):
    """A number of files, and their size."""

    files: int
    bytes: int


class Stored(TypedDict):
    """What the object store has."""

    inputs: Amount
    outputs: Amount
    checkpoints: Amount
    #: When they were counted.
    counted_at: str | None


class Retention(TypedDict):
    """How long files are kept."""

    #: Class of jobs that name none: ``keep``, ``days`` or ``hours``.
    default: str
    #: After the end of the job, for the classes ``days`` and ``hours``.
    days: float
    hours: float


class Disk(TypedDict):
    """The disk of a folder on the host of the web server."""

    #: ``outputs``, ``spool`` or ``redis``.
    name: str
    free_bytes: int
    total_bytes: int


class Storage(TypedDict):
    """Where files are stored, how many, and for how long."""

    #: None: a local folder.
    bucket: str | None
    #: None before they were counted for the first time.
    stored: Stored | None
    retention: Retention
    disks: list[Disk]


class Used(TypedDict):
    """What was used: GPU time, jobs and files."""

    #: Seconds of all runs on their slots, lost ones included.
    gpu_s: float
    #: The part of them whose work was lost with a worker.
    lost_gpu_s: float
    succeeded: int
    failed: int
    cancelled: int
    expired: int
    images: int
    videos: int
    #: Playing time of the videos.
    video_s: float
    output_bytes: int


class UsageRow(Used):
    """What was used in a group: a day, a key, a model, or several of these."""

    day: NotRequired[str]
    key: NotRequired[str]
    model: NotRequired[str]


class Usage(TypedDict):
    """What was used from one day to another, both included."""

    since: str
    until: str
    rows: list[UsageRow]
    total: Used


class Drain(TypedDict):
    """A slot that gets no new job."""

    slot: str
    drained: bool
    #: The job that it still runs.
    job_id: str | None


class YieldedSlot(TypedDict):
    """A slot that gets no new job and gives up the memory of its device."""

    slot: str
    yielded: bool
    #: The job that it still runs.
    job_id: str | None
    #: By all processes, as it was measured last.
    memory_used_bytes: int | None
    memory_total_bytes: int | None


class DeadLetter(TypedDict):
    """A job whose workers died too often."""

    id: str
    model: str
    error: ErrorDetails | None


class KeyWebhook(TypedDict):
    """The webhook of a key's jobs."""

    url: str
    events: list[str]
    #: When the receiver answered 410 and was given up.
    gone_at: str | None


class ServiceWebhook(TypedDict):
    """The webhook of a service's key."""

    service: str
    webhook: KeyWebhook | None
    #: The signing secret; only if it is new, and only in this response.
    secret: NotRequired[str]


class Delivery(TypedDict):
    """The delivery of one event."""

    #: The same in all tries.
    webhook_id: str
    event: str
    #: ``pending``, ``delivered``, ``failed`` or ``gone``.
    state: str
    written_at: str | None
    #: None: there is no further try.
    next_try_at: str | None
    #: The newest tries, each with ``at`` and ``status`` or ``error``.
    tries: list[dict[str, Any]]


class TriedDelivery(TypedDict):
    """The delivery of one event of one job."""

    job_id: str
    #: Name of the job's key.
    key: str
    event: str
    #: Host and port of the receiver.
    receiver: str
    #: ``pending``, ``delivered``, ``failed`` or ``gone``.
    state: str
    attempts: int
    #: Of the last try; None without a response.
    status: int | None
    error: str | None
    tried_at: str | None
    next_try_at: str | None


class Deliveries(TypedDict):
    """The webhook deliveries of a job."""

    job_id: str
    #: The receiver; None without one.
    url: str | None
    events: list[str]
    deliveries: list[Delivery]
