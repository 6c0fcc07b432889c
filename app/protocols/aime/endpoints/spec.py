"""The values that describe an endpoint, as its configuration file declares it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.callers import digest_of

#: Every accepted name of a type → the type.
TYPES = {
    "string": "string", "str": "string", "integer": "integer", "int": "integer", "float": "float", "bool": "bool",
    "boolean": "bool", "selection": "selection", "json": "json", "chat_context": "chat_context",
    "text_context": "text_context", "image": "image", "audio": "audio", "video": "video",
}  # fmt: skip
OUTPUT_TYPES = {**TYPES, "image_list": "image_list"}
MEDIA = frozenset({"image", "audio", "video"})
#: Inputs of every endpoint: the caller's credentials, and whether the response is the result.
IMPLICIT = {"key": "string", "client_session_auth_key": "string", "wait_for_result": "bool"}
#: Prefix of the model name of endpoints whose jobs are computed by workers over HTTP.
MODEL_PREFIX = "aime:"


@dataclass(frozen=True)
class Rule:
    """The allowed values of an input or attribute, and what happens to other values."""

    supported: tuple[Any, ...] = ()
    default: Any = None
    low: Any = None
    high: Any = None
    align: Any = None
    #: Use the nearest allowed value instead of refusing.
    convert: bool = False


@dataclass(frozen=True)
class Input:
    """One input of an endpoint."""

    name: str
    type: str = "string"
    required: bool = False
    default: Any = None
    rule: Rule = Rule()
    #: Maximum length in characters; None: no limit.
    max_length: int | None = None
    #: Rules for the attributes of an image, sound or video: ``format``, ``size``, ….
    attributes: Mapping[str, Rule] = field(default_factory=dict)
    #: How pictures are brought to their size: ``scale`` (also None), or ``crop`` to the center first.
    resize_method: str | None = None
    keep_aspect_ratio: bool | None = False
    #: Limits of the width in relation to the height.
    min_ratio: float | None = None
    max_ratio: float | None = None
    #: Whether pictures lose their colours.
    black_and_white: bool = False
    #: Whether pictures of other shapes are changed instead of refused.
    convert: bool = False
    #: Of a chat context: the media types that it may contain beside text, each with its attributes.
    items: Mapping[str, Input] = field(default_factory=dict)
    #: The table of the file, as clients and workers receive it.
    declaration: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """One output of an endpoint's jobs or of their progress."""

    name: str
    type: str = "string"
    format: str = ""
    color_space: str = ""
    #: The table of the file, as clients and workers receive it.
    declaration: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LocalModel:
    """A model of this server that computes an endpoint's jobs on the server's own GPUs."""

    name: str
    kind: str | None = None
    #: Input of the endpoint → field of a generation request.
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """A file or folder that a configuration file publishes."""

    #: The file or folder.
    path: Path
    #: For a template: where it and what it extends are looked up. Empty: the file is sent as it is.
    template_folders: tuple[Path, ...] = ()
    #: What a template may show.
    context: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One configuration file."""

    name: str
    title: str
    description: str
    methods: tuple[str, ...] = ("GET", "POST")
    version: int | None = None
    category: str | None = None
    demo_url: str | None = None
    input_metering: tuple[str, ...] = ()
    output_metering: tuple[str, ...] = ()
    #: Maximum number of waiting jobs.
    max_queue_length: int = 1000
    #: Seconds.
    max_time_in_queue: float = 3600.0
    job_inactivity_timeout: float = 360.0
    result_lifetime: float = 900.0
    #: Job type of the workers over HTTP; '' when a local model computes the jobs.
    job_type: str = ""
    #: SHA-256 of the key that workers must send; '' for none.
    worker_key: str = ""
    #: Duration of a worker's long poll, seconds.
    request_timeout: float = 60.0
    #: User → key. Empty: callers use the keys of the server.
    client_keys: Mapping[str, str] = field(default_factory=dict)
    #: Whether results name the worker that computed them.
    worker_meta: bool = False
    #: Maximum number of requests of one session or key; 0: no limit.
    request_limit: int = 0
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    progress_outputs: Mapping[str, Output] = field(default_factory=dict)
    #: Variables of a browser session; their defaults are the initial values.
    session_vars: Mapping[str, Input] = field(default_factory=dict)
    local_model: LocalModel | None = None

    @property
    def model(self) -> str:
        """The model name of its jobs, by which the scheduler finds their slots."""
        return self.local_model.name if self.local_model else MODEL_PREFIX + self.job_type

    @property
    def protocol(self) -> str:
        """The protocol that is recorded with its jobs."""
        return f"aime/{self.name}"

    def accepts_worker_key(self, key: Any) -> bool:
        """Return whether this key belongs to the endpoint's workers."""
        return not self.worker_key or (isinstance(key, str) and hmac.compare_digest(digest_of(key), self.worker_key))


@dataclass(frozen=True)
class Endpoints:
    """All endpoints of a server."""

    by_name: Mapping[str, Endpoint] = field(default_factory=dict)
    #: Media type → the formats that the server accepts; an endpoint cannot allow more.
    formats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Path of an address, without slashes at its ends → what is served there.
    pages: Mapping[str, Page] = field(default_factory=dict)
    #: Name of an endpoint whose file has an error → the error.
    broken: Mapping[str, str] = field(default_factory=dict)

    def of_job_type(self, job_type: str) -> list[Endpoint]:
        """Return the endpoints that workers of this type serve, in the order of their files."""
        return [endpoint for endpoint in self.by_name.values() if job_type and endpoint.job_type == job_type]

    def of_protocol(self, protocol: str) -> Endpoint | None:
        """Return the endpoint whose jobs are recorded with this protocol."""
        adapter, _, name = protocol.partition("/")
        return self.by_name.get(name) if adapter == "aime" else None

    def user_of(self, key: str) -> str | None:
        """Return the user that a key of the configuration files belongs to."""
        for endpoint in self.by_name.values():
            for user, known in endpoint.client_keys.items():
                if hmac.compare_digest(key.encode(), known.encode()):
                    return user
        return None
