"""Media of requests: decode data URIs, convert their content, and store it in the object store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app import own_outputs
from app.media.decoding import from_base64, to_base64
from app.media.inputs import store_once
from app.protocols.aime.endpoints.spec import MEDIA, Endpoints, Input
from app.protocols.aime.inputs.images import convert_image
from app.protocols.aime.inputs.recordings import convert_recording
from app.protocols.aime.inputs.values import BadValue
from jobs.objects.base import ObjectStore
from jobs.settings import Settings
from jobs.store.jobs import JobStore

_DATA_URI = re.compile(r"data:(\w*+)(?:/([\w.+*-]*+))?[^,]{0,1000}?;base64,", re.ASCII | re.IGNORECASE)
_FORMAT_NAMES = {
    "vnd.wave": "wav", "x-wav": "wav", "wave": "wav", "jpg": "jpeg", "x-matroska": "mkv", "quicktime": "mov",
}  # fmt: skip


def decode_media(spec: Input, value: Any, endpoints: Endpoints, settings: Settings) -> tuple[bytes, str]:
    """Return the file of a data URI, or an output of a job, converted as its input declares it, and its media type.

    Raises: BadValue, DecodingBusy.
    """
    if (own := _own_output(spec, value)) is not None:
        return _converted(spec, own[0], own[1].partition("/")[2], endpoints, settings)
    head = _DATA_URI.match(value) if isinstance(value, str) else None
    if head is None:
        raise BadValue(f"must be a data URI (data:{spec.type}/<format>;base64,…) or job:<id>")
    kind, declared = head[1].lower(), _declared_format(head[1].lower(), (head[2] or "").lower())
    # Browsers give recorded sound a file type of video. Other types, such as that of unknown files, say nothing.
    if kind in MEDIA and kind != spec.type and (kind, spec.type) != ("video", "audio"):
        raise BadValue(f"must be of type {spec.type}, not {kind}")
    body, max_bytes = value[head.end() :], settings.inputs.max_bytes
    if len(body) * 3 // 4 > max_bytes:
        raise BadValue(f"must not exceed {max_bytes} bytes")
    return _converted(spec, _decode(body), declared, endpoints, settings)


def _own_output(spec: Input, value: Any) -> tuple[bytes, str] | None:
    """Return content and media type of the output of a job that a value names; None for another value."""
    try:
        return own_outputs.file_of(value, "", spec.type) if isinstance(value, str) else None
    except own_outputs.OutputNotUsable as exc:
        raise BadValue(exc.problems[0].rule) from exc


def _converted(
    spec: Input, data: bytes, declared: str, endpoints: Endpoints, settings: Settings
) -> tuple[bytes, str]:  # fmt: skip
    formats = endpoints.formats.get(spec.type, ())
    if spec.type == "image":
        content, file_format = convert_image(spec, data, formats, settings)
    else:
        content, file_format = convert_recording(spec, data, declared, formats, settings)
    return content, f"{spec.type}/{file_format}"


def data_uri(content: bytes, media_type: str) -> str:
    """Encode a file as a data URI."""
    return f"data:{media_type};base64,{to_base64(content)}"


def store_media(media: Mapping[str, tuple[bytes, str]], objects: ObjectStore, records: JobStore) -> dict[str, str]:
    """Store the media of a request; equal content is stored once.

    Args:
        media: input name → content and media type.
        objects: the object store.
        records: reserves the objects for a job that is submitted soon.

    Returns:
        Input name → object key.

    Raises:
        Unavailable: the object store or Redis does not respond.
    """
    return {
        name: store_once(content, media_type.partition("/")[2], media_type, objects, records)
        for name, (content, media_type) in media.items()
    }


def _declared_format(kind: str, name: str) -> str:
    name = _FORMAT_NAMES.get(name, name)
    if name == "mpeg":
        return "mp3" if kind == "audio" else "mp4"
    return name


def _decode(body: str) -> bytes:
    try:
        data = from_base64(body)
    except ValueError:
        raise BadValue("must be valid base64") from None
    if not data:
        raise BadValue("must not be empty")
    return data
