"""An endpoint as its configuration file describes it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.callers import digest_of

#: Type by each of its names.
TYPES = {
    "string": "string", "str": "string", "integer": "integer", "int": "integer", "float": "float", "bool": "bool",
    "boolean": "bool", "selection": "selection", "json": "json", "chat_context": "chat_context",
    "text_context": "text_context", "image": "image", "audio": "audio", "video": "video",
}  # fmt: skip
OUTPUT_TYPES = {**TYPES, "image_list": "image_list"}
MEDIA = frozenset({"image", "audio", "video"})
#: Inputs that every endpoint has: who calls, and whether the answer is the result.
IMPLICIT = {"key": "string", "client_session_auth_key": "string", "wait_for_result": "bool"}
#: What endpoints that no AIME worker serves call the model that computes them.
MODEL_PREFIX = "aime:"


@dataclass(frozen=True)
class Rule:
    """What a value may be, and what to do with another one."""

    supported: tuple[Any, ...] = ()
    default: Any = None
    low: Any = None
    high: Any = None
    align: Any = None
    #: Take the nearest allowed value instead of refusing.
    convert: bool = False


@dataclass(frozen=True)
class Input:
    """One parameter of an endpoint."""

    name: str
    type: str = "string"
    required: bool = False
    default: Any = None
    rule: Rule = Rule()
    #: Characters; None: any number.
    max_length: int | None = None
    #: Of an image, a sound or a video: ``format``, ``size`` … to what is allowed.
    attributes: Mapping[str, Rule] = field(default_factory=dict)
    resize_method: str = "scale"
    keep_aspect_ratio: bool = False
    #: Of a chat context: types of items it may hold beside texts, with their attributes.
    items: Mapping[str, Input] = field(default_factory=dict)
    #: As the file has it: what clients and workers are told.
    described: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """What a job of an endpoint gives, or its progress."""

    name: str
    type: str = "string"
    format: str = ""
    color_space: str = ""
    described: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OwnModel:
    """A model of this server that computes an endpoint's jobs on its own GPUs."""

    model: str
    kind: str | None = None
    #: The endpoint's input → the field of a request.
    fields: Mapping[str, str] = field(default_factory=dict)


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
    #: Jobs that may wait.
    max_queue_length: int = 1000
    #: Seconds.
    max_time_in_queue: float = 3600.0
    job_inactivity_timeout: float = 360.0
    result_lifetime: float = 900.0
    #: Of workers over HTTP; '' when the server's own GPUs compute it.
    job_type: str = ""
    #: SHA-256 of the key its workers must show; '' for none.
    worker_key: str = ""
    request_timeout: float = 60.0
    #: User → key. Empty: the server's own keys.
    client_keys: Mapping[str, str] = field(default_factory=dict)
    worker_meta: bool = True
    #: Requests of one session or key; 0: no limit.
    request_limit: int = 0
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Output] = field(default_factory=dict)
    progress_outputs: Mapping[str, Output] = field(default_factory=dict)
    #: Name → (type, value a session begins with).
    session_vars: Mapping[str, Input] = field(default_factory=dict)
    own: OwnModel | None = None
    #: Address → the file there, and whether it is a template.
    pages: Mapping[str, tuple[Path, bool]] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The name by which its jobs find a slot."""
        return self.own.model if self.own else MODEL_PREFIX + self.job_type

    @property
    def protocol(self) -> str:
        """What is on record about where its jobs came from."""
        return f"aime/{self.name}"

    def knows_worker(self, key: Any) -> bool:
        """Whether this is the key of the endpoint's workers."""
        return not self.worker_key or (isinstance(key, str) and hmac.compare_digest(digest_of(key), self.worker_key))


@dataclass(frozen=True)
class Endpoints:
    """All endpoints of a server."""

    by_name: Mapping[str, Endpoint] = field(default_factory=dict)
    #: Formats of images and sounds that no endpoint may go beyond.
    formats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of_job_type(self, job_type: str) -> list[Endpoint]:
        """Those that workers of this type serve, in the order in which they were read."""
        return [endpoint for endpoint in self.by_name.values() if job_type and endpoint.job_type == job_type]

    def client(self, key: str) -> str | None:
        """The user that a key of the files belongs to."""
        for endpoint in self.by_name.values():
            for user, known in endpoint.client_keys.items():
                if hmac.compare_digest(key.encode(), known.encode()):
                    return user
        return None
