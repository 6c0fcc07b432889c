"""Every option of Framemill: one frozen object, read from the environment.

Each field is one environment variable of the same name in capitals (``redis_url`` is ``REDIS_URL``); its
type, default and unit stand beside it, and ``docs/configuration.md`` lists the same (a test compares them).
Credentials for S3 are boto3's own (``AWS_ACCESS_KEY_ID`` and so on) and are not repeated here.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from jobs import environment
from jobs.errors import BadSetting
from jobs.formats import IMAGE_FORMATS, VIDEO_FORMATS
from jobs.slots.slot import is_slot

PROJECT_ROOT = Path(__file__).resolve().parent.parent

#: Linux refuses longer paths for a Unix socket (``sockaddr_un.sun_path`` is 108 bytes with its NUL).
MAX_SOCKET_PATH_BYTES = 107
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (what lies there belongs to this user, jobs.files.spool checks it)

_CHOICES: dict[str, tuple[str, ...]] = {
    "s3_encryption": ("", "AES256", "aws:kms"),
    "result_urls": ("presigned", "public", "proxy"),
    "image_format": IMAGE_FORMATS,
    "video_format": VIDEO_FORMATS,
    "thumbnail_format": ("webp", "jpeg"),
}

#: How long the files of a job are kept: until it is deleted, for days, or for hours.
RETENTION_CLASSES = ("keep", "days", "hours")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All options. Build with :meth:`from_env`; tests pass fields directly."""

    #: Redis for queue, records and events. Empty: the embedded server's socket under ``data_dir``.
    redis_url: str = field(default="", repr=False)
    #: Longest wait for one answer of Redis, seconds.
    redis_timeout_s: float = 3.0
    #: Where the embedded Redis, the spool and local objects live.
    data_dir: Path = PROJECT_ROOT / "var"
    #: The file that describes the models.
    models_file: Path = PROJECT_ROOT / "models.toml"
    #: The file that describes servers of others that compute jobs, too. It may be missing.
    backends_file: Path = PROJECT_ROOT / "backends.toml"
    #: Folder of ``aime_api_endpoint.cfg`` files: endpoints of the AIME protocol.
    endpoints_dir: Path = PROJECT_ROOT / "endpoints"

    #: Address the web server binds.
    host: str = "127.0.0.1"
    #: Port of the web server.
    port: int = 8000
    #: Port of Flower.
    flower_port: int = 5555
    #: Number of web server processes.
    web_processes: int = 1
    #: The only slot this web server works with. Empty: all.
    service_slot: str = ""
    #: How LightX2V's clients are answered: ``queue`` as its newest version does, ``single`` as its documents say.
    lightx2v_profile: str = "queue"
    #: What a request without model and kind asks for: ``text2img`` or ``text2video``.
    bare_prompt_kind: str = "text2img"

    #: Bucket for outputs and inputs. Empty: a local folder under ``data_dir``.
    s3_bucket: str = ""
    #: Endpoint of an S3-compatible server. Empty: AWS.
    s3_endpoint_url: str = ""
    #: Prefix of every key in the bucket.
    s3_prefix: str = ""
    #: ``path``, ``virtual`` or ``auto``.
    s3_addressing_style: str = "auto"
    #: Server-side encryption of what is stored: ``AES256``, ``aws:kms``; empty: as the bucket is set up.
    s3_encryption: str = ""
    #: Id or ARN of the KMS key for ``aws:kms``. Empty: the account's own.
    s3_kms_key_id: str = ""
    #: Larger files are sent in parts of this size, bytes.
    s3_part_bytes: int = 8 * 1024 * 1024
    #: Whether outputs get the tag ``retention`` with the job's class, for rules of the bucket.
    s3_tag_retention: bool = False
    #: Where clients fetch outputs of a bucket: ``presigned``, ``public`` (below ``S3_PUBLIC_URL``) or ``proxy``.
    result_urls: str = "presigned"
    #: Address under which the bucket's keys can be read without a signature, such as a CDN.
    s3_public_url: str = ""
    #: Life of a presigned download link, seconds.
    result_url_ttl_s: int = 3600

    #: Format of images: ``png``, ``webp`` or ``jpeg``.
    image_format: str = "png"
    #: Format of videos: ``mp4``, ``webm``, ``gif`` or ``webp``.
    video_format: str = "mp4"
    #: Quality of WebP and JPEG images, 1 to 100.
    image_quality: int = 90
    #: Quality of MP4, WebM and WebP videos, 1 to 100.
    video_quality: int = 80
    #: Whether outputs hold the request that made them.
    embed_metadata: bool = True
    #: Longest side of thumbnails, pixels. 0: neither thumbnails nor posters are made.
    thumbnail_px: int = 256
    #: Format of thumbnails and posters: ``webp`` or ``jpeg``.
    thumbnail_format: str = "webp"

    #: Where computed frames wait for the encoder. Empty: shared memory while there is room, else below ``data_dir``.
    spool_dir: Path | None = None
    #: Most bytes of frames in shared memory. 0: none.
    spool_memory_bytes: int = 1024**3
    #: A host whose frames take more than this gets no new job, bytes. 0: no limit.
    spool_max_bytes: int = 32 * 1024**3
    #: … nor does one whose spool's disk has less than this free, bytes.
    spool_reserve_bytes: int = 2 * 1024**3

    #: How long a finished job's record is kept, from its end or from the removal of its files, seconds.
    result_ttl_s: int = 7 * 24 * 3600
    #: Retention class of jobs that name none, nor their key: ``keep``, ``days`` or ``hours``.
    retention: str = "days"
    #: How long the files of class ``days`` are kept after the job's end, days.
    retention_days: float = 7.0
    #: How long the files of class ``hours`` are kept after the job's end, hours.
    retention_hours: float = 24.0
    #: Files that no job needs (yet) are left alone for this long, seconds.
    unused_files_grace_s: float = 600.0
    #: Files that no record names are removed when they are older than this, seconds. 0: never.
    orphan_age_s: float = 86_400.0
    #: Jobs that may wait at once; more are refused with 429.
    max_waiting: int = 10_000
    #: Weights of the classes general and premium: of so many turns each gets its share.
    general_premium_ratio: str = "1 3"
    #: A job whose model must be loaded may be passed so often by jobs whose model is in memory.
    affinity_places: int = 4
    #: … and for so long, seconds.
    affinity_s: float = 30.0
    #: Longest run of a job that sets no limit of its own, seconds. 0: none.
    max_run_s: float = 0.0
    #: A waiting job that sets no deadline of its own must start within this, seconds. 0: none.
    start_within_s: float = 0.0
    #: How long an Idempotency-Key is remembered, seconds.
    idempotency_ttl_s: int = 24 * 3600
    #: Events that are kept for listeners who come back.
    event_log_length: int = 10_000
    #: Services that work through sockets, with their keys: ``name:key``, separated by blanks.
    services: str = field(default="", repr=False)
    #: What comes before ``<object_id>.jpg`` in links of the socket's protocol. Empty: this server's ``/img/``.
    s3_image_endpoint: str = ""
    #: Whether images of the socket's protocol are also written to ``images_path``.
    save_images_locally: bool = False
    #: A folder of such images, which ``/img/`` serves, too. Empty: none.
    images_path: Path | None = None
    #: The model of jobs for ``automatic1111`` that name none. Empty: the first that offers the kind.
    automatic1111_model: str = ""
    #: The model of jobs for ``kandinsky``. Empty: the first that offers the kind.
    kandinsky_model: str = ""
    #: Draw a picture instead of running the models, for tests without a GPU.
    test_mode: bool = False
    #: Keys to be known at start: ``service:secret[:role[:class]]``, comma separated.
    api_keys: str = field(default="", repr=False)
    #: A file with such entries, one per line; lines that begin with # are comments.
    api_keys_file: str = ""
    #: Runs of one job that may end with a lost worker before the job fails.
    max_attempts: int = 3

    #: A worker renews the lease of its slot this often, seconds.
    heartbeat_s: float = 2.0
    #: A slot whose lease was not renewed for this long is swept, seconds.
    slot_lease_s: float = 10.0
    #: A job that was sent to a worker and not started is sent again after this, seconds.
    resend_after_s: float = 5.0
    #: One delivery attempt (encode, upload) must be renewed within this, seconds.
    delivery_lease_s: float = 60.0
    #: Frames on a host without delivery workers are computed again elsewhere after this, seconds.
    node_grace_s: float = 600.0
    #: A cancelled job that does not stop by itself has its process killed after this, seconds.
    cancel_grace_s: float = 30.0
    #: A worker told to exit gives its running job this long to finish, seconds.
    drain_grace_s: float = 3.0

    #: Shortest time between two progress reports of one job, milliseconds.
    progress_interval_ms: int = 100

    #: Largest body of a request, bytes.
    max_request_bytes: int = 64 * 1024 * 1024
    #: Largest input image (upload, base64 or download), bytes.
    max_input_bytes: int = 32 * 1024 * 1024
    #: Largest input image, pixels.
    max_input_px: int = 64_000_000
    #: Longest download of an input image, seconds.
    input_url_timeout_s: float = 10.0
    #: Hosts whose private addresses input links may use, comma separated. Empty: public addresses only.
    input_url_allow: str = ""

    #: Device memory left free beside the models, for the computation itself, bytes.
    vram_reserve_bytes: int = 3 * 2**30
    #: Device memory that models may take, bytes. 0: on a GPU what it has less the reserve, on a CPU half of the RAM.
    model_memory_bytes: int = 0
    #: RAM for models that make room on the device, bytes. 0: on a GPU as much as leaves a quarter of the RAM free, on a
    #: CPU none.
    parking_bytes: int = 0
    #: Folder of input images that LightX2V's clients may name by their path. Empty: none.
    input_dir: str = ""

    #: Address of this server as others reach it, put before the links in webhooks. Empty: links without a host.
    public_url: str = ""
    #: Secrets that sign webhooks of keys without own ones: ``whsec_…``, comma separated, newest first.
    webhook_secret: str = field(default="", repr=False)
    #: Longest wait for a receiver's answer, seconds.
    webhook_timeout_s: float = 15.0
    #: Pauses before the second and later tries of a delivery, seconds; each up to a fifth longer by chance.
    webhook_retry_s: str = "5 300 1800 7200 18000 36000"
    #: Deliveries that an ``io`` worker sends at once.
    webhook_concurrency: int = 64
    #: Hosts whose private addresses webhooks may go to, comma separated. Empty: public addresses only.
    webhook_allow: str = ""

    #: What happens to prompts and outputs that a check refuses: ``off`` (nothing is checked), ``block`` or ``blur``.
    moderation: str = "off"
    #: The check of prompts: ``module:function``; ``none``: no check.
    moderation_prompts: str = "jobs.moderation:words"
    #: The check of outputs: ``module:function``; ``none``: no check.
    moderation_outputs: str = "workers.delivery.moderation:skin"
    #: Words and phrases that no prompt may have, one per line, for the check ``jobs.moderation:words``.
    moderation_words_file: str = ""
    #: Share of skin-coloured pixels from which the check ``workers.delivery.moderation:skin`` refuses an output.
    moderation_skin_share: float = 0.4

    #: Threads torch may use on a CPU. 0: torch decides.
    cpu_threads: int = 0
    #: This host's name in slot and queue names. Empty: the operating system's.
    node_name: str = ""
    #: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
    log_level: str = "INFO"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read every option from ``environ`` (default: the process environment).

        An empty variable counts as unset. Relative paths are taken from the project's root.

        Raises:
            BadSetting: a value of the wrong type or out of range; the message names the variable.
        """
        environ = environment.of_process() if environ is None else environment.translated(environ)
        values: dict[str, Any] = {}
        for option in fields(cls):
            raw = environ.get(option.name.upper(), "").strip()
            if raw:
                values[option.name] = _convert(option.name.upper(), str(option.type), raw)
        return cls(**values)

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if isinstance(value, int | float) and value < 0:
                raise BadSetting(f"{option.name.upper()} must not be negative, got {value}")
            if isinstance(value, float) and not math.isfinite(value):
                raise BadSetting(f"{option.name.upper()} must be a finite number, got {value}")
        if self.slot_lease_s < 2 * self.heartbeat_s:
            raise BadSetting("SLOT_LEASE_S must be at least twice HEARTBEAT_S")
        if not re.fullmatch(r"[1-9][0-9]{0,3} [1-9][0-9]{0,3}", self.general_premium_ratio):
            raise BadSetting("GENERAL_PREMIUM_RATIO must be two whole numbers from 1, like '1 3'")
        if self.service_slot and not is_slot(self.service_slot):
            raise BadSetting("SERVICE_SLOT must be a slot like gpu0, nodeb.gpu0 or the name of a back end")
        if self.lightx2v_profile not in ("queue", "single"):
            raise BadSetting("LIGHTX2V_PROFILE must be queue or single")
        if self.bare_prompt_kind not in ("text2img", "text2video"):
            raise BadSetting("BARE_PROMPT_KIND must be text2img or text2video")
        if self.retention not in RETENTION_CLASSES:
            raise BadSetting(f"RETENTION must be {', '.join(RETENTION_CLASSES[:-1])} or {RETENTION_CLASSES[-1]}")
        if self.s3_addressing_style not in ("auto", "path", "virtual"):
            raise BadSetting("S3_ADDRESSING_STYLE must be auto, path or virtual")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise BadSetting(f"{name.upper()} must be one of {', '.join(filter(None, allowed))}")
        for name in ("image_quality", "video_quality"):
            if not 1 <= getattr(self, name) <= 100:
                raise BadSetting(f"{name.upper()} must be 1 to 100")
        if self.s3_part_bytes < 5 * 1024 * 1024:
            raise BadSetting("S3_PART_BYTES must be at least 5242880 (5 MiB), S3's smallest part")
        if self.result_urls == "public" and not re.match(r"https?://[^/]", self.s3_public_url):
            raise BadSetting("RESULT_URLS=public needs S3_PUBLIC_URL, an http(s) address")
        if self.log_level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise BadSetting("LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR")
        if not all(re.fullmatch(r"whsec_[A-Za-z0-9+/]{32,87}={0,2}", secret) for secret in self.webhook_secrets):
            raise BadSetting("WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 bytes")
        if not re.fullmatch(r"[0-9]{1,7}( [0-9]{1,7})*|", self.webhook_retry_s):
            raise BadSetting("WEBHOOK_RETRY_S must be whole numbers of seconds, like '5 300 1800'")
        if not 1 <= self.webhook_concurrency <= 1000:
            raise BadSetting("WEBHOOK_CONCURRENCY must be 1 to 1000")
        if self.webhook_timeout_s == 0:
            raise BadSetting("WEBHOOK_TIMEOUT_S must be more than 0")
        if not re.fullmatch(r"(https?://[^\s?#]+)?", self.public_url):
            raise BadSetting("PUBLIC_URL must begin with http:// or https:// and have no query")
        if self.moderation not in ("off", "block", "blur"):
            raise BadSetting("MODERATION must be off, block or blur")
        if not self.moderation_skin_share <= 1:
            raise BadSetting("MODERATION_SKIN_SHARE must be 0 to 1")
        if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}:\S+", entry) for entry in self.services.split()):
            raise BadSetting("SERVICES must be name:key pairs separated by blanks")
        if self.save_images_locally and not self.images_path:
            raise BadSetting("SAVE_IMAGES_LOCALLY needs IMAGES_PATH")
        if len(os.fsencode(self.redis_socket)) > MAX_SOCKET_PATH_BYTES and not self.redis_url:
            raise BadSetting(
                f"DATA_DIR is too long for a Unix socket below it: {self.data_dir}; set REDIS_URL or a shorter DATA_DIR"
            )

    @property
    def key_entries(self) -> list[str]:
        """The keys to be known at start. Raises: BadSetting: ``API_KEYS_FILE`` cannot be read."""
        text = self.api_keys.replace(",", "\n")
        if self.api_keys_file:
            try:
                text += "\n" + (PROJECT_ROOT / self.api_keys_file).read_text(encoding="utf-8")
            except OSError as exc:
                raise BadSetting(f"API_KEYS_FILE {self.api_keys_file} cannot be read: {exc.strerror}") from exc
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line and not line.startswith("#")]

    def bare_kind(self, *, with_image: bool) -> str | None:
        """The kind of a request that names neither model nor kind; None: as the models file says."""
        if self.bare_prompt_kind == "text2img":
            return None
        return "img2video" if with_image else self.bare_prompt_kind

    @property
    def service_entries(self) -> list[tuple[str, str]]:
        """Name and key of each service that works through sockets."""
        pairs = [entry.partition(":") for entry in self.services.split()]
        return [(name, secret) for name, _, secret in pairs]

    @property
    def webhook_secrets(self) -> list[str]:
        """Newest first."""
        return [secret.strip() for secret in self.webhook_secret.split(",") if secret.strip()]

    @property
    def webhook_pauses_s(self) -> list[int]:
        """Pauses before the second and later tries."""
        return [int(pause_s) for pause_s in self.webhook_retry_s.split()]

    @property
    def webhook_hosts(self) -> frozenset[str]:
        """Hosts whose private addresses webhooks may go to."""
        return frozenset(host.strip().lower() for host in self.webhook_allow.split(",") if host.strip())

    @property
    def class_weights(self) -> dict[str, int]:
        """Weight by class."""
        general, premium = self.general_premium_ratio.split()
        return {"general": int(general), "premium": int(premium)}

    @property
    def retention_s(self) -> dict[str, float]:
        """Seconds for which files are kept, by class; the class that is not here keeps them until deleted."""
        return {"days": self.retention_days * 24 * 3600, "hours": self.retention_hours * 3600}

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the web server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def embedded_redis(self) -> bool:
        """True when no ``REDIS_URL`` is given and the stack brings its own server."""
        return not self.redis_url

    @property
    def redis_socket(self) -> Path:
        """Socket of the embedded Redis."""
        return self.data_dir / "redis" / "redis.sock"

    @property
    def store_url(self) -> str:
        """The Redis address as redis-py takes it."""
        return self.redis_url or f"unix://{self.redis_socket}"

    @property
    def broker_url(self) -> str:
        """The Redis address as kombu takes it."""
        if self.store_url.startswith("unix://"):
            return "redis+socket://" + self.store_url.removeprefix("unix://")
        return self.store_url

    @property
    def backend_url(self) -> str:
        """The Redis address as Celery's Redis result backend takes it."""
        if self.store_url.startswith("unix://"):
            return "socket://" + self.store_url.removeprefix("unix://")
        return self.store_url

    @property
    def spool_disk(self) -> Path:
        """Raw frames on their way from the GPU to the encoder."""
        return self.spool_dir or self.data_dir / "spool"

    @property
    def spool_memory(self) -> Path | None:
        """The same in shared memory; None: not to be used. Its name holds user and data folder."""
        if self.spool_dir or not self.spool_memory_bytes:
            return None
        name = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        return SHARED_MEMORY / f"framemill-{os.getuid()}-{name}"

    @property
    def objects_dir(self) -> Path:
        """Outputs and inputs when no bucket is set."""
        return self.data_dir / "objects"

    @cached_property
    def node(self) -> str:
        """This host's name, without dots (dots separate host and device in slot names)."""
        return (self.node_name or socket.gethostname()).replace(".", "-")

    @property
    def delivery_queue(self) -> str:
        """Queue of the workers that can read this host's spool."""
        return f"io@{self.node}"


def _convert(name: str, type_name: str, raw: str) -> Any:
    try:
        if type_name == "int":
            return int(raw)
        if type_name == "float":
            return float(raw)
    except ValueError:
        raise BadSetting(f"{name} must be a number, got {raw!r}") from None
    if type_name == "bool":
        if raw.lower() not in ("1", "0", "true", "false", "yes", "no"):
            raise BadSetting(f"{name} must be 1 or 0, got {raw!r}")
        return raw.lower() in ("1", "true", "yes")
    if type_name in ("Path", "Path | None"):
        return PROJECT_ROOT / raw
    return raw
