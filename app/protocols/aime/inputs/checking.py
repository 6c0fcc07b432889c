"""The inputs of a request: every problem is found before anything is queued."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.inputs import off_the_hub
from app.protocols.aime.endpoints.spec import IMPLICIT, MEDIA, Endpoint, Endpoints, Input
from app.protocols.aime.inputs import images, recordings
from app.protocols.aime.inputs.values import Refused, check
from jobs.errors import ObjectNotFound
from jobs.objects.base import ObjectStore
from jobs.settings import Settings
from jobs.store.jobs import JobStore

_DATA_URI = re.compile(r"data:(\w+)/([\w.+-]+)(?:;[^;,]*)*?;base64,")
_FORMAT_NAMES = {
    "vnd.wave": "wav",
    "x-wav": "wav",
    "wave": "wav",
    "jpg": "jpeg",
    "x-matroska": "mkv",
    "quicktime": "mov",
}


class BadInputs(Exception):
    """What is wrong with a request: one text for each problem."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass
class Checked:
    """The inputs of a request, all of them right."""

    params: dict[str, Any] = field(default_factory=dict)
    #: Name → content and media type.
    media: dict[str, tuple[bytes, str]] = field(default_factory=dict)


def check_inputs(
    endpoint: Endpoint, endpoints: Endpoints, sent: Mapping[str, Any], settings: Settings, *, as_text: bool
) -> Checked:
    """Check what was sent, fill in defaults, convert what may be converted.

    Args:
        endpoint: whose inputs they are.
        endpoints: with the formats that the server takes at all.
        sent: the fields, the implicit ones among them.
        settings: ``max_input_bytes`` and ``max_input_px``.
        as_text: they came in a query string.

    Raises:
        BadInputs: with every problem.
    """
    checked, problems = Checked(), []
    for name in sent:
        if name not in endpoint.inputs and name not in IMPLICIT:
            problems.append(f"{str(name)[:80]}: unknown parameter; known: {', '.join(endpoint.inputs) or 'none'}")
    for name, spec in endpoint.inputs.items():
        value = sent.get(name)
        if value is None:
            if spec.required and spec.default is None:
                problems.append(f"{name}: is required")
            elif spec.default is not None:
                value = spec.default
        if value is None or (spec.type in MEDIA and value == "" and not spec.required):
            continue
        try:
            if spec.type in MEDIA:
                checked.media[name] = read_medium(spec, value, endpoints, settings)
            else:
                checked.params[name] = check(spec, value, as_text=as_text)
                if spec.type == "chat_context":
                    _check_items(spec, checked.params[name], endpoints, settings)
        except Refused as exc:
            problems.append(f"{name}: {exc}")
    chats = [name for name, spec in endpoint.inputs.items() if spec.type == "chat_context" and checked.params.get(name)]
    for name, spec in endpoint.inputs.items():
        if spec.type == "text_context" and checked.params.get(name) and chats:
            problems.append(f"{name}: cannot be given together with {chats[0]}")
    if problems:
        raise BadInputs(problems)
    return checked


def read_medium(spec: Input, value: Any, endpoints: Endpoints, settings: Settings) -> tuple[bytes, str]:
    """A data URI as the file that its parameter wants, and its media type. Raises: Refused."""
    if not isinstance(value, str):
        raise Refused(f"must be a data URI: data:{spec.type}/<format>;base64,…")
    head = _DATA_URI.match(value)
    if head is None:
        raise Refused(f"must be a data URI: data:{spec.type}/<format>;base64,…")
    kind, declared = head[1].lower(), head[2].lower()
    declared = _FORMAT_NAMES.get(declared, declared)
    if declared == "mpeg":
        declared = "mp3" if kind == "audio" else "mp4"
    # Browsers record sound into files whose type is that of a video.
    if kind != spec.type and (kind, spec.type) != ("video", "audio"):
        raise Refused(f"must be of type {spec.type}, not {kind}")
    body = value[head.end() :]
    if len(body) * 3 // 4 > settings.inputs.max_bytes:
        raise Refused(f"must not exceed {settings.inputs.max_bytes} bytes")
    limits: dict[str, Any] = {"formats": endpoints.formats.get(spec.type, ()), "max_px": settings.inputs.max_px}

    def work() -> tuple[bytes, str]:
        try:
            data = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            raise Refused("must be valid base64") from None
        if not data:
            raise Refused("must not be empty")
        if spec.type == "image":
            content, found = images.convert(spec, data, **limits)
        else:
            content, found = recordings.convert(spec, data, declared, **limits)
        return content, f"{spec.type}/{found}"

    return off_the_hub(work)


def _check_items(spec: Input, messages: list[dict[str, Any]], endpoints: Endpoints, settings: Settings) -> None:
    """Media within a chat are converted where they stand."""
    for message in messages:
        for item in message["content"] if isinstance(message["content"], list) else ():
            for kind in MEDIA & item.keys():
                content, media_type = read_medium(spec.items[kind], item[kind], endpoints, settings)
                item[kind] = data_uri(content, media_type)


def data_uri(content: bytes, media_type: str) -> str:
    """A file as text."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def keep(checked: Checked, objects: ObjectStore, records: JobStore) -> dict[str, str]:
    """Store the media of a request, each once by its content. Returns their object keys by name.

    Raises:
        Unavailable.
    """
    kept = {}
    for name, (content, media_type) in checked.media.items():
        kept[name] = records.reserve_input(hashlib.sha256(content).hexdigest(), media_type.partition("/")[2])
        try:
            objects.stat(kept[name])
        except ObjectNotFound:
            objects.put_bytes(kept[name], content, media_type)
    return kept
