"""Options of Redis, folders, S3, the spool and retention."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.settings.option import PROJECT_ROOT, Group, at_least, between, matching, more_than_0, one_of, option
from jobs.settings.redis_address import check_redis_url

_AN_ADDRESS = "start with http:// or https:// and have no query"
#: How long the files of a job are kept: until it is deleted, for days, or for hours.
RETENTION_CLASSES = ("keep", "days", "hours")


@dataclass(frozen=True, kw_only=True)
class RedisOptions(Group):
    """The Redis that holds the queue, the records and the events."""

    #: Its address. Empty: the embedded server's socket under ``DATA_DIR``.
    url: str = option("REDIS_URL", "", check_redis_url, secret=True)
    #: Longest wait for one answer, seconds.
    timeout_s: float = option("REDIS_TIMEOUT_S", 3.0, more_than_0)
    #: Connections that each process opens at most; further calls wait for one.
    connections: int = option("REDIS_CONNECTIONS", 64, at_least(1, "since nothing works without Redis"))
    #: Longest wait for a free connection, seconds.
    connection_wait_s: float = option("REDIS_CONNECTION_WAIT_S", 10.0)
    #: Replicas that must have a new job before it is accepted. 0: the primary alone accepts it.
    wait_replicas: int = option("REDIS_WAIT_REPLICAS", 0)
    #: Number of events kept for listeners that reconnect.
    event_log_length: int = option("EVENT_LOG_LENGTH", 10_000)


@dataclass(frozen=True, kw_only=True)
class PathOptions(Group):
    """Folders and configuration files. Relative paths start at the project's root."""

    #: Folder of the embedded Redis, the spool and local objects.
    data_dir: Path = option("DATA_DIR", PROJECT_ROOT / "var")
    #: A disk with less free space than this is warned of, bytes. 0: never.
    min_free_disk_bytes: int = option("MIN_FREE_DISK_BYTES", 4 * 1024**3)
    #: The file that describes the models.
    models_file: Path = option("MODELS_FILE", PROJECT_ROOT / "models.toml")
    #: The file that describes back ends. It may be missing.
    backends_file: Path = option("BACKENDS_FILE", PROJECT_ROOT / "backends.toml")
    #: Folder of ``aime_api_endpoint.cfg`` files: endpoints of the AIME protocol.
    endpoints_dir: Path = option("ENDPOINTS_DIR", PROJECT_ROOT / "endpoints")

    @property
    def objects_dir(self) -> Path:
        """Folder of outputs and inputs when no bucket is set."""
        return self.data_dir / "objects"


@dataclass(frozen=True, kw_only=True)
class S3Options(Group):
    """The bucket for outputs and inputs."""

    #: Its name. Empty: a local folder under ``DATA_DIR``.
    bucket: str = option("S3_BUCKET", "")
    #: Endpoint of an S3-compatible server. Empty: AWS.
    endpoint_url: str = option("S3_ENDPOINT_URL", "")
    #: Prefix of every key in the bucket.
    prefix: str = option("S3_PREFIX", "")
    #: ``path``, ``virtual`` or ``auto``.
    addressing_style: str = option("S3_ADDRESSING_STYLE", "auto", one_of("auto", "path", "virtual"))
    #: Server-side encryption: ``AES256``, ``aws:kms``; empty: the bucket's own setting.
    encryption: str = option("S3_ENCRYPTION", "", one_of("", "AES256", "aws:kms"))
    #: Id or ARN of the KMS key for ``aws:kms``. Empty: the account's default key.
    kms_key_id: str = option("S3_KMS_KEY_ID", "")
    #: Files larger than this are uploaded in parts of this size, bytes.
    part_bytes: int = option("S3_PART_BYTES", 8 * 1024 * 1024, at_least(5 * 1024 * 1024, "the smallest part of S3"))
    #: Whether outputs get the tag ``retention`` with the job's class, for lifecycle rules of the bucket.
    tag_retention: bool = option("S3_TAG_RETENTION", False)
    #: Endpoint under which callers reach the server, put into presigned links. Empty: ``S3_ENDPOINT_URL``.
    public_endpoint_url: str = option("S3_PUBLIC_ENDPOINT_URL", "", matching(r"(https?://[^\s?#]+)?", _AN_ADDRESS))
    #: Address at which the bucket's keys can be read without a signature, such as a CDN.
    public_url: str = option("S3_PUBLIC_URL", "")


@dataclass(frozen=True, kw_only=True)
class SpoolOptions(Group):
    """Where computed frames wait for the encoder."""

    #: Folder. Empty: shared memory while there is room, else below ``DATA_DIR``.
    dir: Path | None = option("SPOOL_DIR", None)
    #: Limit of frames in shared memory, bytes. 0: shared memory is not used.
    memory_bytes: int = option("SPOOL_MEMORY_BYTES", 1024**3)
    #: A host whose frames take more than this gets no new job, bytes. 0: no limit.
    max_bytes: int = option("SPOOL_MAX_BYTES", 32 * 1024**3)
    #: A host whose spool disk has less free space than this gets no new job, bytes.
    reserve_bytes: int = option("SPOOL_RESERVE_BYTES", 2 * 1024**3)


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(Group):
    """Checkpoints, from which a run that was lost or interrupted goes on."""

    #: A run stores one this often, seconds. 0: only when it is interrupted.
    interval_s: float = option("CHECKPOINT_INTERVAL_S", 30.0)
    #: ``host``: they stay on the disk of the spool; ``objects``: they go to the object store, too, so that any host can
    #: go on.
    store: str = option("CHECKPOINT_STORE", "host", one_of("host", "objects"))
    #: Largest checkpoint, bytes. 0: no limit.
    max_bytes: int = option("CHECKPOINT_MAX_BYTES", 8 * 1024**3)
    #: Limit of all checkpoints on a host, bytes. 0: no limit.
    host_max_bytes: int = option("CHECKPOINTS_MAX_BYTES", 32 * 1024**3)


@dataclass(frozen=True, kw_only=True)
class RetentionOptions(Group):
    """How long records and files are kept."""

    #: Class of jobs that name none and whose key names none: ``keep``, ``days`` or ``hours``.
    default_class: str = option("RETENTION", "days", one_of(*RETENTION_CLASSES))
    #: How long the files of class ``days`` are kept after the end of the job, days.
    days: float = option("RETENTION_DAYS", 7.0)
    #: How long the files of class ``hours`` are kept after the end of the job, hours.
    hours: float = option("RETENTION_HOURS", 24.0)
    #: How long a finished job's record is kept, from its end or from the removal of its files, seconds.
    result_ttl_s: int = option("RESULT_TTL_S", 7 * 24 * 3600)
    #: How long it is kept what each key used, days. 0: it is not counted.
    usage_days: int = option("USAGE_DAYS", 400, between(0, 3660))
    #: Files that no job needs yet or needs any more are kept for this long, seconds.
    unused_files_grace_s: float = option("UNUSED_FILES_GRACE_S", 600.0)
    #: Files that no record names are removed when they are older than this, seconds. 0: never.
    orphan_age_s: float = option("ORPHAN_AGE_S", 86_400.0)

    @property
    def files_kept_s(self) -> dict[str, float]:
        """Seconds for which files are kept, by class; files of other classes are kept until they are deleted."""
        return {"days": self.days * 24 * 3600, "hours": self.hours * 3600}
