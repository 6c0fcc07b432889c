"""Every option of Framemill: one frozen object with a group for each part, read from the environment."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

from jobs.errors import BadSetting
from jobs.settings import environment
from jobs.settings.option import options_of, read_group
from jobs.settings.protocols import DevoidOptions, LightX2VOptions
from jobs.settings.provenance import C2paOptions
from jobs.settings.redis_address import RedisAddress
from jobs.settings.storage import (
    CheckpointOptions,
    PathOptions,
    RedisOptions,
    RetentionOptions,
    S3Options,
    SpoolOptions,
)
from jobs.settings.web import (
    AccessOptions,
    InputOptions,
    ModerationOptions,
    OutputOptions,
    PromptOptions,
    WebhookOptions,
    WebOptions,
)
from jobs.settings.work import LeaseOptions, MemoryOptions, ProcessOptions, SchedulingOptions

#: Linux refuses longer paths for a Unix socket (``sockaddr_un.sun_path`` is 108 bytes with its NUL).
MAX_SOCKET_PATH_BYTES = 107
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  (jobs.files.spool checks that the folder there belongs to this user)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All options, in groups. Read them with :meth:`from_env`; tests use :meth:`of`.

    Each option is one environment variable; its type, default and unit stand beside it in its group, and
    ``docs/configuration.md`` lists them all (a test compares the two). boto3 reads its credentials
    (``AWS_ACCESS_KEY_ID`` and so on) itself.
    """

    redis: RedisOptions = field(default_factory=RedisOptions)
    paths: PathOptions = field(default_factory=PathOptions)
    s3: S3Options = field(default_factory=S3Options)
    spool: SpoolOptions = field(default_factory=SpoolOptions)
    checkpoints: CheckpointOptions = field(default_factory=CheckpointOptions)
    retention: RetentionOptions = field(default_factory=RetentionOptions)
    web: WebOptions = field(default_factory=WebOptions)
    access: AccessOptions = field(default_factory=AccessOptions)
    inputs: InputOptions = field(default_factory=InputOptions)
    outputs: OutputOptions = field(default_factory=OutputOptions)
    c2pa: C2paOptions = field(default_factory=C2paOptions)
    webhooks: WebhookOptions = field(default_factory=WebhookOptions)
    moderation: ModerationOptions = field(default_factory=ModerationOptions)
    prompts: PromptOptions = field(default_factory=PromptOptions)
    scheduling: SchedulingOptions = field(default_factory=SchedulingOptions)
    leases: LeaseOptions = field(default_factory=LeaseOptions)
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    process: ProcessOptions = field(default_factory=ProcessOptions)
    lightx2v: LightX2VOptions = field(default_factory=LightX2VOptions)
    devoid: DevoidOptions = field(default_factory=DevoidOptions)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read every option from ``environ`` (default: the process environment and ``.env``).

        An empty variable counts as unset. Relative paths start at the project's root.

        Raises:
            BadSetting: a value of the wrong type or out of range; the message names the variable.
        """
        environ = environment.of_process() if environ is None else environment.with_aliases(environ)
        return cls(**{name: group(**read_group(group, environ)) for name, group in groups().items()})

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Settings with these values; names are environment variables in lower case. Raises: BadSetting, TypeError."""
        return cls().replace(**values)

    def replace(self, **values: Any) -> Self:
        """These settings with other values; names are environment variables in lower case.

        Raises:
            BadSetting: a value out of range.
            TypeError: there is no such variable.
        """
        changes: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name.upper() not in variables():
                raise TypeError(f"there is no setting {name.upper()}")
            group, option = variables()[name.upper()]
            changes.setdefault(group, {})[option] = value
        changed = {name: dataclasses.replace(getattr(self, name), **options) for name, options in changes.items()}
        return dataclasses.replace(self, **changed)

    def __post_init__(self) -> None:
        if self.outputs.urls == "public" and not re.match(r"https?://[^/]", self.s3.public_url):
            raise BadSetting("RESULT_URLS=public needs S3_PUBLIC_URL, an http(s) address")
        if len(os.fsencode(self.redis_socket)) > MAX_SOCKET_PATH_BYTES and not self.redis.url:
            raise BadSetting(
                f"DATA_DIR is too long for a Unix socket below it: {self.paths.data_dir}; "
                "set REDIS_URL or a shorter DATA_DIR"
            )

    @property
    def embedded_redis(self) -> bool:
        """True when no ``REDIS_URL`` is given and the stack starts its own server."""
        return not self.redis.url

    @property
    def redis_socket(self) -> Path:
        """Socket of the embedded Redis."""
        return self.paths.data_dir / "redis" / "redis.sock"

    @property
    def store_url(self) -> str:
        """The Redis address as it was given, or the embedded server's."""
        return self.redis.url or f"unix://{self.redis_socket}"

    @cached_property
    def redis_address(self) -> RedisAddress:
        """The same, taken apart for connections."""
        return RedisAddress.from_url(self.redis.url) if self.redis.url else RedisAddress.of_socket(self.redis_socket)

    @property
    def spool_disk(self) -> Path:
        """Folder of raw frames on their way from the GPU to the encoder."""
        return self.spool.dir or self.paths.data_dir / "spool"

    @property
    def spool_memory(self) -> Path | None:
        """The same in shared memory, named after user and data folder; None: shared memory is not used."""
        if self.spool.dir or not self.spool.memory_bytes:
            return None
        name = hashlib.sha256(os.fsencode(self.paths.data_dir)).hexdigest()[:12]
        return SHARED_MEMORY / f"framemill-{os.getuid()}-{name}"

    @cached_property
    def node(self) -> str:
        """This host's name, without dots (dots separate host and device in slot names)."""
        return (self.process.node_name or socket.gethostname()).replace(".", "-")

    @property
    def delivery_queue(self) -> str:
        """Queue of the workers that can read this host's spool."""
        return f"io@{self.node}"


def groups() -> dict[str, type[Any]]:
    """The groups by their names."""
    return {each.name: each.default_factory for each in dataclasses.fields(Settings)}  # type: ignore[misc]


@cache
def variables() -> dict[str, tuple[str, str]]:
    """Every environment variable: group and name of its option."""
    return {
        variable: (name, option.name)
        for name, group in groups().items()
        for variable, option in options_of(group).items()
    }


def defaults() -> dict[str, Any]:
    """Every environment variable with its default."""
    return {variable: option.default for group in groups().values() for variable, option in options_of(group).items()}
