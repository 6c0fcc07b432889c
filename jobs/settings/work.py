"""Options of scheduling, leases and worker processes."""

from __future__ import annotations

from dataclasses import dataclass

from marshmallow import ValidationError

from jobs.errors import BadSetting
from jobs.settings.option import Group, at_least, matching, more_than_0, one_of, option

#: Scheduling classes, highest first. Jobs of the last one run only while no other job waits for the slot.
CLASSES = ("premium", "general", "off-peak")


def _lower_classes(value: str) -> None:
    """Check ``CLASS_PREEMPTS``. Raises: ValidationError."""
    ranks = {name: rank for rank, name in enumerate(CLASSES)}
    for entry in value.split():
        higher, _, lower = entry.partition(":")
        if not all(ranks.get(name, -1) > ranks.get(higher, len(ranks)) for name in lower.split(",")):
            rule = "be entries such as premium:general,off-peak: a class and lower ones of"
            raise ValidationError(f"{rule} {', '.join(CLASSES)} (got {entry!r})")


@dataclass(frozen=True, kw_only=True)
class SchedulingOptions(Group):
    """Who waits, who is next, and for how long a job may wait and run."""

    #: Number of jobs that may wait or be paused at once; more are refused with 429.
    max_waiting: int = option("MAX_WAITING", 10_000)
    #: Weights of the classes general and premium.
    general_premium_ratio: str = option(
        "GENERAL_PREMIUM_RATIO", "1 3",
        matching(r"[1-9][0-9]{0,3} [1-9][0-9]{0,3}", "be two whole numbers from 1, such as '1 3'"),
    )  # fmt: skip
    #: How often a job whose model must be loaded may be overtaken by jobs whose model is in memory.
    affinity_places: int = option("AFFINITY_PLACES", 4)
    #: For how long such a job may be overtaken, seconds.
    affinity_s: float = option("AFFINITY_S", 30.0)
    #: Longest run of a job that sets no limit itself, seconds. 0: no limit.
    max_run_s: float = option("MAX_RUN_S", 0.0)
    #: A waiting job that sets no deadline itself must start within this, seconds. 0: no deadline.
    start_within_s: float = option("START_WITHIN_S", 0.0)
    #: Which classes may take the slots of runs of lower classes: ``<class>:<lower>[,<lower>] …``.
    class_preempts: str = option("CLASS_PREEMPTS", "premium:general,off-peak general:off-peak", _lower_classes)
    #: A job may do so if it would wait longer than this, seconds. 0: no job does.
    preempt_after_s: float = option("PREEMPT_AFTER_S", 0.0)
    #: How often a job may lose its slot in this way.
    preempt_max: int = option("PREEMPT_MAX", 2)
    #: How far ahead a job's ``not_before`` may be, seconds.
    not_before_max_s: float = option("NOT_BEFORE_MAX_S", 7 * 86_400.0)
    #: A paused job that is not resumed within this expires, seconds.
    paused_ttl_s: float = option("PAUSED_TTL_S", 7 * 24 * 3600.0, more_than_0)
    #: Number of runs of one job that may end with a lost worker before the job fails.
    max_attempts: int = option("MAX_ATTEMPTS", 3, at_least(1, "since a job needs one run"))
    #: How long an Idempotency-Key is remembered, seconds.
    idempotency_ttl_s: int = option("IDEMPOTENCY_TTL_S", 24 * 3600)

    @property
    def preempts(self) -> dict[str, list[str]]:
        """By class: those whose runs its jobs may interrupt, lowest first; empty when no job does."""
        found: dict[str, set[str]] = {}
        for entry in self.class_preempts.split() if self.preempt_after_s else ():
            higher, _, lower = entry.partition(":")
            found.setdefault(higher, set()).update(lower.split(","))
        return {higher: sorted(lower, key=CLASSES.index, reverse=True) for higher, lower in found.items()}

    @property
    def class_weights(self) -> dict[str, int]:
        """Weight by class. Those of weight 0 get what the others leave."""
        general, premium = self.general_premium_ratio.split()
        return {"general": int(general), "premium": int(premium), "off-peak": 0}


@dataclass(frozen=True, kw_only=True)
class LeaseOptions(Group):
    """How soon the death of a process is noticed, and what happens then."""

    #: Interval at which a worker renews the lease of its slot, seconds.
    heartbeat_s: float = option("HEARTBEAT_S", 2.0, more_than_0)
    #: A slot whose lease was not renewed for this long is given up, seconds.
    slot_lease_s: float = option("SLOT_LEASE_S", 10.0)
    #: A job that was sent to a worker and has not started is sent again after this, seconds.
    resend_after_s: float = option("RESEND_AFTER_S", 5.0)
    #: One delivery (encode, upload) must be renewed within this, seconds.
    delivery_lease_s: float = option("DELIVERY_LEASE_S", 60.0)
    #: Frames on a host without delivery workers are computed again elsewhere after this, seconds.
    node_grace_s: float = option("NODE_GRACE_S", 600.0)
    #: The process of a cancelled job that does not stop by itself is killed after this, seconds.
    cancel_grace_s: float = option("CANCEL_GRACE_S", 30.0)
    #: A worker told to exit gives its running job this long to finish, seconds.
    drain_grace_s: float = option("DRAIN_GRACE_S", 3.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slot_lease_s < 2 * self.heartbeat_s:
            raise BadSetting("SLOT_LEASE_S must be at least twice HEARTBEAT_S")


@dataclass(frozen=True, kw_only=True)
class MemoryOptions(Group):
    """Memory for models."""

    #: Device memory left free beside the models, for the computation itself, bytes.
    vram_reserve_bytes: int = option("VRAM_RESERVE_BYTES", 3 * 2**30)
    #: Device memory that models may take, bytes. 0: on a GPU all but the reserve, on a CPU half of the RAM.
    model_bytes: int = option("MODEL_MEMORY_BYTES", 0)
    #: RAM for models moved off the device, bytes. 0: on a GPU as much as leaves a quarter of the RAM free, on a CPU
    #: none.
    parking_bytes: int = option("PARKING_BYTES", 0)
    #: A model that no job has used for this long is unloaded, seconds. 0: models stay until the space is needed.
    unload_after_s: float = option("UNLOAD_AFTER_S", 0.0)


@dataclass(frozen=True, kw_only=True)
class ProcessOptions(Group):
    """Every process: host name, log, threads."""

    #: This host's name in slot and queue names. Empty: the operating system's host name.
    node_name: str = option("NODE_NAME", "")
    #: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
    log_level: str = option("LOG_LEVEL", "INFO", one_of("DEBUG", "INFO", "WARNING", "ERROR"))
    #: ``text``, ``json``, or ``auto``: text on a terminal and from the launcher, JSON otherwise.
    log_format: str = option("LOG_FORMAT", "auto", one_of("auto", "text", "json"))
    #: Which requests are logged at the level INFO: ``changes`` (and what fails), ``all`` or ``none``.
    log_requests: str = option("LOG_REQUESTS", "changes", one_of("changes", "all", "none"))
    #: Number of threads that torch may use on a CPU. 0: torch decides.
    cpu_threads: int = option("CPU_THREADS", 0)
    #: Shortest time between two progress reports of one job, milliseconds.
    progress_interval_ms: int = option("PROGRESS_INTERVAL_MS", 100)
